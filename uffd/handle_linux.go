package uffd

import (
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Handle owns one descriptor of a userfaultfd. Its methods may be called from
// any goroutine; Close waits for those that are under way.
type Handle struct {
	mu sync.RWMutex // protects fd from being closed, and its number reused, under a call
	fd int          // -1 when closed
}

// Adopt takes ownership of fd, a userfaultfd of this or another process that
// the caller got by SCM_RIGHTS or inheritance.
func Adopt(fd int) *Handle { return &Handle{fd: fd} }

// AdoptFrom duplicates descriptor remoteFD of the process behind pidfd. That
// process keeps its own copy. The error wraps unix.EPERM if the process may
// not be traced by the caller, unix.EBADF if it has no such descriptor,
// unix.ESRCH if it has ended, and unix.EINVAL if the descriptor is something
// other than a userfaultfd.
func AdoptFrom(pidfd, remoteFD int) (*Handle, error) {
	fd, err := unix.PidfdGetfd(pidfd, remoteFD, 0)
	if err != nil {
		return nil, fmt.Errorf("duplicate descriptor %d of the other process: %w", remoteFD, err)
	}
	if err := CheckKind(fd); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("adopt descriptor %d of the other process: %w", remoteFD, err)
	}
	return Adopt(fd), nil
}

// CheckKind returns an error that wraps unix.EINVAL for a descriptor of this
// process that is no userfaultfd: an ioctl meant for
// one may mean something else on another file.
func CheckKind(fd int) error {
	kind, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return err
	}
	if kind != "anon_inode:[userfaultfd]" {
		return fmt.Errorf("it is %q, not a userfaultfd: %w", kind, unix.EINVAL)
	}
	return nil
}

// Fd returns the number of the descriptor, or -1 after Close. The Handle goes
// on owning it.
func (h *Handle) Fd() int {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.fd
}

// Close closes this copy of the descriptor. Ranges stay registered as long as
// another copy is open, in whichever process. If this was the last one, they
// are no longer served by anybody, and what is missing reads as zero. Further
// calls do nothing.
func (h *Handle) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fd < 0 {
		return nil
	}
	fd := h.fd
	h.fd = -1
	if err := unix.Close(fd); err != nil {
		return fmt.Errorf("close userfaultfd: %w", err)
	}
	return nil
}

// duplicate returns a second descriptor of the same userfaultfd.
func (h *Handle) duplicate() (int, error) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.fd < 0 {
		return -1, os.ErrClosed
	}
	return unix.FcntlInt(uintptr(h.fd), unix.F_DUPFD_CLOEXEC, 0)
}
