package uffd

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Reader reads the events of one userfaultfd. One goroutine calls Read; any
// may call Wakeup and Close.
//
// A wake-up is never lost: Wakeup first sets pending and then looks at
// waiting, Read first sets waiting and then looks at pending, so that one of
// them sees the other. At worst a Read returns an empty batch once more.
type Reader struct {
	mu sync.Mutex // held by Read; protects fd, from being closed under it, and what follows
	fd int        // a descriptor of the Reader's own: the Handle may be closed first

	poll   [2]unix.PollFd
	buffer [readMessages * messageSize]byte

	wakeMu sync.Mutex // protects event from being closed under Wakeup
	event  int        // eventfd, -1 when closed

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
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("create eventfd: %w", err)
	}
	r := &Reader{fd: fd, event: event}
	r.poll[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
	r.poll[1] = unix.PollFd{Fd: int32(event), Events: unix.POLLIN}
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
	r.mu.Lock()
	defer r.mu.Unlock()
	b.reset()
	if r.closed.Load() {
		return errReaderClosed
	}
	// Looking first costs nothing when faults are rare, since it is done before
	// the wait and not between a fault and its answer, and saves the wait when
	// they are frequent.
	found, err := r.drain(b)
	if err != nil {
		return err
	}
	if timeout == 0 || found {
		r.pending.Swap(false)
		return nil
	}
	if err := r.wait(timeout); err != nil {
		return err
	}
	if r.closed.Load() {
		return errReaderClosed
	}
	_, err = r.drain(b)
	return err
}

var errReaderClosed = fmt.Errorf("read userfaultfd: %w", os.ErrClosed)

// Wakeup makes the Read that waits, or else the next one, return without an
// event. It costs a system call only if one waits.
func (r *Reader) Wakeup() {
	if r.pending.Swap(true) || !r.waiting.Load() {
		return
	}
	r.wakeMu.Lock()
	defer r.wakeMu.Unlock()
	if r.event >= 0 {
		one := [8]byte{1}
		// The only error is EAGAIN, of a counter that is full: readable as well.
		_, _ = unix.Write(r.event, one[:])
	}
}

// Close ends a Read that waits and releases the Reader's descriptors, but not
// the Handle. Further calls do nothing.
func (r *Reader) Close() error {
	if r.closed.Swap(true) {
		return nil
	}
	r.Wakeup()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wakeMu.Lock()
	defer r.wakeMu.Unlock()
	event := r.event
	r.event = -1
	eventErr, err := unix.Close(event), unix.Close(r.fd)
	if err == nil {
		err = eventErr
	}
	if err != nil {
		return fmt.Errorf("close userfaultfd reader: %w", err)
	}
	return nil
}

// drain reads until the queue is empty, which a short read shows, or the batch
// is full, and reports whether there was anything.
func (r *Reader) drain(b *Batch) (found bool, err error) {
	for range maxBatchMessages / readMessages {
		n, err := unix.Read(r.fd, r.buffer[:])
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

// wait returns when there is an event, a wake-up or the end of the timeout.
func (r *Reader) wait(timeout time.Duration) error {
	r.waiting.Store(true)
	err := r.pollUntil(timeout)
	r.waiting.Store(false)
	r.pending.Swap(false)
	if err != nil {
		return fmt.Errorf("wait for userfaultfd: %w", err)
	}
	if r.poll[1].Revents != 0 {
		var count [8]byte
		_, _ = unix.Read(r.event, count[:]) // empties the counter
	}
	if r.poll[0].Revents&^unix.POLLIN != 0 {
		return fmt.Errorf("wait for userfaultfd: poll reports %#x (is the handshake done?)", r.poll[0].Revents)
	}
	return nil
}

// pollUntil goes on after signals until the timeout, but not for a wake-up
// that was announced before waiting was set.
func (r *Reader) pollUntil(timeout time.Duration) error {
	r.poll[0].Revents, r.poll[1].Revents = 0, 0
	var end time.Time
	if timeout > 0 {
		end = time.Now().Add(timeout)
	}
	for !r.pending.Load() {
		var limit *unix.Timespec
		if timeout > 0 {
			left := unix.NsecToTimespec(int64(max(time.Until(end), 0)))
			limit = &left
		}
		if _, err := unix.Ppoll(r.poll[:], limit, nil); err != unix.EINTR {
			return err
		}
	}
	return nil
}
