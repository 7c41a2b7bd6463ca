package uffd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// devicePath gives a userfaultfd to whoever may open it (Linux 6.1 or newer).
const devicePath = "/dev/userfaultfd"

const openFlags = unix.O_CLOEXEC | unix.O_NONBLOCK

// Open creates a userfaultfd for the memory of the calling process, by the
// system call or else by /dev/userfaultfd. The error says what to change; it
// wraps unix.EPERM if a permission is missing and unix.ENOSYS if the kernel
// was built without userfaultfd.
func Open() (*Handle, error) {
	fd, err := openFull(openFlags)
	if err != nil {
		return nil, fmt.Errorf("create userfaultfd: %w", err)
	}
	return Adopt(fd), nil
}

// OpenUserMode creates a userfaultfd for the memory of the calling process that
// needs no privilege and serves only faults of code that runs in user mode: a
// system call, or KVM, that touches a missing page gets an error instead.
func OpenUserMode() (*Handle, error) {
	fd, err := create(openFlags | userModeOnly)
	if err != nil {
		return nil, fmt.Errorf("create userfaultfd for faults of user mode: %w%s", err, hint(err))
	}
	return Adopt(fd), nil
}

// OpenDevice opens /dev/userfaultfd, to be passed to another process, which
// can then create its userfaultfd without a privilege of its own.
func OpenDevice() (*os.File, error) {
	f, err := os.OpenFile(devicePath, os.O_RDWR, 0)
	switch {
	case err == nil:
		return f, nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w (it takes Linux 6.1 or newer with CONFIG_USERFAULTFD)", err)
	default:
		return nil, fmt.Errorf("%w (run as root or give access to it)", err)
	}
}

// openFull creates a userfaultfd that also handles faults of the kernel.
func openFull(flags int) (int, error) {
	fd, callErr := create(flags)
	if callErr == nil {
		return fd, nil
	}
	fd, deviceErr := openByDevice(flags)
	if deviceErr == nil {
		return fd, nil
	}
	return -1, fmt.Errorf("system call: %w; %w%s", callErr, deviceErr, hint(callErr))
}

func openByDevice(flags int) (int, error) {
	device, err := unix.Open(devicePath, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", devicePath, err)
	}
	defer func() { _ = unix.Close(device) }()
	fd, err := createFrom(device, flags)
	if err != nil {
		return -1, fmt.Errorf("create from %s: %w", devicePath, err)
	}
	return fd, nil
}

// hint says what to do about an error of the system call.
func hint(err error) string {
	switch {
	case errors.Is(err, unix.EPERM):
		return " (run as root or with CAP_SYS_PTRACE, give access to " + devicePath +
			", or set vm.unprivileged_userfaultfd=1)"
	case errors.Is(err, unix.ENOSYS):
		return " (the kernel needs CONFIG_USERFAULTFD)"
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
		return " (raise the limit of open files)"
	}
	return ""
}
