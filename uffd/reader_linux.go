package uffd

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Reader reads the events of one userfaultfd. One goroutine calls Read; any
// may call Wakeup and Close.
//
// It waits in Go's own poller, not in a system call: the goroutine goes on in
// the thread that hears of the fault, and what it starts runs there as well.
// A wake-up is a read deadline in the past. None is lost: Wakeup first sets
// pending and then looks at waiting, Read first sets waiting and then looks at
// pending, so that one of them sees the other. At worst a Read returns an empty
// batch once more.
type Reader struct {
	file   *os.File // of a descriptor of its own: the Handle may be closed first
	conn   syscall.RawConn
	buffer [readMessages * messageSize]byte

	// Of the Read that is under way.
	batch *Batch
	err   error
	fill  func(fd uintptr) bool // drainOnce
	look  func(fd uintptr)      // the same, whatever it finds

	pending atomic.Bool // Wakeup was called since Read last returned
	waiting atomic.Bool // Read is about to wait, or does
	closed  atomic.Bool
}

// NewReader returns a reader of h's events. It makes the userfaultfd
// non-blocking, also for other holders of it: the kernel does not let one wait
// for it otherwise. The caller has to close the Reader as well as h.
func NewReader(h *Handle) (*Reader, error) {
	fd, err := h.duplicate()
	if err != nil {
		return nil, fmt.Errorf("create userfaultfd reader: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("make userfaultfd non-blocking: %w", err)
	}
	r := &Reader{file: os.NewFile(uintptr(fd), "userfaultfd")}
	r.fill = r.drainOnce
	r.look = func(fd uintptr) { r.drainOnce(fd) }
	err = r.file.SetReadDeadline(time.Time{}) // fails if it cannot be polled
	if err == nil {
		r.conn, err = r.file.SyscallConn()
	}
	if err != nil {
		_ = r.file.Close()
		return nil, fmt.Errorf("create userfaultfd reader: %w", err)
	}
	return r, nil
}

// Read empties the kernel's queue into b, whose former contents are dropped.
// If the queue is empty it waits for an event, for Wakeup, or for the timeout:
// for ever if that is negative, not at all if it is 0. So b may be empty on
// return; it may be so without any of them too, when a signal takes a thread
// out of its wait before its fault is read (it will fault again). It may also
// hold messages beside an error. The error wraps os.ErrClosed after Close; each
// other one means that the userfaultfd cannot be served further.
func (r *Reader) Read(b *Batch, timeout time.Duration) error {
	b.reset()
	r.batch, r.err = b, nil
	err := r.wait(timeout)
	r.waiting.Store(false)
	r.pending.Swap(false)
	switch {
	case r.closed.Load():
		return errReaderClosed
	case r.err != nil:
		return r.err
	case err == nil || errors.Is(err, os.ErrDeadlineExceeded):
		return nil
	default:
		return fmt.Errorf("read userfaultfd: %w", err)
	}
}

var errReaderClosed = fmt.Errorf("read userfaultfd: %w", os.ErrClosed)

// wait drains the queue, and waits for something to drain if it may.
func (r *Reader) wait(timeout time.Duration) error {
	if timeout == 0 {
		return r.conn.Control(r.look)
	}
	var deadline time.Time
	if timeout > 0 {
		deadline = time.Now().Add(timeout)
	}
	if err := r.file.SetReadDeadline(deadline); err != nil {
		return err
	}
	r.waiting.Store(true)
	if r.pending.Load() {
		return r.conn.Control(r.look)
	}
	return r.conn.Read(r.fill)
}

// drainOnce is called before the wait and whenever the poller reports
// something. It ends the Read if there was anything.
func (r *Reader) drainOnce(fd uintptr) (done bool) {
	var found bool
	found, r.err = r.drain(int(fd), r.batch)
	return found || r.err != nil
}

// Wakeup makes the Read that waits, or else the next one, return without an
// event. It costs little unless one waits.
func (r *Reader) Wakeup() {
	if r.pending.Swap(true) || !r.waiting.Load() {
		return
	}
	_ = r.file.SetReadDeadline(time.Unix(1, 0)) // fails only when it is closed
}

// Close ends a Read that waits and releases the Reader's descriptor, but not
// the Handle. Further calls do nothing.
func (r *Reader) Close() error {
	if r.closed.Swap(true) {
		return nil
	}
	if err := r.file.Close(); err != nil {
		return fmt.Errorf("close userfaultfd reader: %w", err)
	}
	return nil
}

// drain reads until the queue is empty, which a short read shows, or the batch
// is full, and reports whether there was anything.
func (r *Reader) drain(fd int, b *Batch) (found bool, err error) {
	for range maxBatchMessages / readMessages {
		n, err := unix.Read(fd, r.buffer[:])
		switch err {
		case nil:
		case unix.EAGAIN:
			return found, nil
		case unix.EINTR:
			continue
		default:
			return found, fmt.Errorf("read userfaultfd: %w", err)
		}
		found = true
		if err := b.add(r.buffer[:n]); err != nil {
			return found, err
		}
		if n < len(r.buffer) {
			break
		}
	}
	return found, nil
}
