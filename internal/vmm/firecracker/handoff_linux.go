package firecracker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lazymig/lazymig/uffd"
)

// Handoff is the memory of one VMM, to be served by whoever holds it. Faults
// may be waiting already.
type Handoff struct {
	// Regions are the pieces of the guest's memory in the VMM's order. They
	// have been checked against each other, not against a memory file.
	Regions []Region
	// Handle is the userfaultfd. The VMM has registered Regions with it.
	Handle *uffd.Handle
	// PID is the VMM's process, which may have ended.
	PID int
	// PIDFD is the same process, without the danger of a number used again.
	PIDFD *os.File
}

// Wait returns nil when the VMM has ended, and the cause of ctx if that ends
// before. The error wraps os.ErrClosed after Close. One goroutine at a time
// may call it.
func (h *Handoff) Wait(ctx context.Context) error {
	_ = h.PIDFD.SetReadDeadline(time.Time{}) // fails only when closed, as waitExit says
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = h.PIDFD.SetReadDeadline(time.Unix(1, 0))
		close(woken)
	})
	err := waitExit(h.PIDFD)
	if !stop() {
		<-woken
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	default:
		return fmt.Errorf("watch process %d: %w", h.PID, err)
	}
}

// Ended reports whether the VMM has ended.
func (h *Handoff) Ended() bool {
	ended, err := hasExited(h.PIDFD)
	return ended && err == nil
}

// Kill ends the VMM by SIGKILL: a thread that waits for a page takes no other
// signal. It does not wait for the end. A VMM that has ended is no error.
func (h *Handoff) Kill() error {
	if err := kill(h.PIDFD); err != nil {
		return fmt.Errorf("kill process %d: %w", h.PID, err)
	}
	return nil
}

// Close releases the descriptors. A VMM that has pages missing and kept no
// copy of the userfaultfd reads zeros from then on: end it before.
func (h *Handoff) Close() error {
	return errors.Join(h.Handle.Close(), ignoreClosed(h.PIDFD.Close()))
}

func ignoreClosed(err error) error {
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

// kill sends SIGKILL to the process behind pidfd.
func kill(pidfd *os.File) error {
	err := control(pidfd, func(fd int) error { return unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) })
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}

// awaitExit waits at most limit for the end of a process that nobody else
// watches.
func awaitExit(pidfd *os.File, limit time.Duration) error {
	if err := pidfd.SetReadDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	return waitExit(pidfd)
}

// waitExit waits in Go's poller: a pidfd is readable once its process has
// ended.
func waitExit(pidfd *os.File) error {
	raw, err := pidfd.SyscallConn()
	if err != nil {
		return err
	}
	var problem error
	err = raw.Read(func(fd uintptr) bool {
		var ended bool
		ended, problem = exited(int(fd))
		return ended || problem != nil
	})
	return errors.Join(err, problem)
}

func hasExited(pidfd *os.File) (ended bool, err error) {
	err = control(pidfd, func(fd int) (err error) {
		ended, err = exited(fd)
		return err
	})
	return ended, err
}

func exited(pidfd int) (bool, error) {
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, 0)
		if !errors.Is(err, unix.EINTR) {
			return n > 0, err
		}
	}
}

func control(f *os.File, do func(fd int) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var problem error
	return errors.Join(raw.Control(func(fd uintptr) { problem = do(int(fd)) }), problem)
}
