package uffd

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// rangeOperations are what a registered range must offer. That of huge pages has
// no ZeroPage: zeros are copied there.
const rangeOperations = 1<<numberWake | 1<<numberCopy

// Handshake agrees with the kernel on the ABI and asks for the features in
// want. It has to be done once for a userfaultfd, by whichever process. It
// returns all that the kernel offers. The error names the features that the
// kernel lacks; it wraps unix.EPERM if FeatureEventFork needs a privilege, and
// unix.EINVAL otherwise.
func (h *Handle) Handshake(want Feature) (Feature, error) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.fd < 0 {
		return 0, os.ErrClosed
	}
	record := apiRecord{api: apiVersion, features: uint64(want)}
	errno := record.handshake(h.fd)
	if errno == 0 {
		return Feature(record.features), nil
	}
	return 0, fmt.Errorf("agree on userfaultfd features %v: %w", want, explainHandshake(errno, want))
}

func explainHandshake(errno unix.Errno, want Feature) error {
	if errno == unix.EPERM {
		return fmt.Errorf("%w (run as root or with CAP_SYS_PTRACE)", errno)
	}
	has, err := Features()
	if err != nil || errno != unix.EINVAL {
		return errno
	}
	if lacks := want &^ has; lacks != 0 {
		return fmt.Errorf("the kernel lacks %s: %w", lacks.requirement(), errno)
	}
	return fmt.Errorf("%w (was it done already?)", errno)
}

// Register makes faults on missing pages of [start, start+length) wait for
// this userfaultfd. Both are in bytes and multiples of the page size. The
// range may span several mappings, of anonymous, tmpfs or hugetlbfs memory. The
// error wraps unix.EBUSY if another userfaultfd has it, and unix.EOPNOTSUPP if the
// kernel cannot fill it with copies.
func (h *Handle) Register(start, length uint64) error {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.fd < 0 {
		return os.ErrClosed
	}
	r := rangeRecord{start, length}
	record := registerRecord{rangeRecord: r, mode: registerModeMissing}
	if errno := record.register(h.fd); errno != 0 {
		return rangeError("register", r, explainRegister(errno))
	}
	if record.ioctls&rangeOperations == rangeOperations {
		return nil
	}
	err := fmt.Errorf("the kernel offers %#x instead of copy and wake there: %w",
		record.ioctls, unix.EOPNOTSUPP)
	if errno := r.do(h.fd, ioctlUnregister); errno != 0 {
		err = errors.Join(err, rangeError("unregister", r, errno))
	}
	return rangeError("register", r, err)
}

func explainRegister(errno unix.Errno) error {
	switch {
	case errno == unix.EINVAL:
		return fmt.Errorf("%w (it takes whole pages of mapped anonymous, tmpfs or hugetlbfs memory, and the handshake first)", errno)
	case errno == unix.EBUSY:
		return fmt.Errorf("%w (another userfaultfd has it)", errno)
	case errno == unix.EPERM:
		return fmt.Errorf("%w (shared memory has to be mapped writable)", errno)
	}
	return errno
}

// Unregister ends the handling of [start, start+length), in bytes. Threads
// that wait there go on; pages that are still missing read as zero from now on.
func (h *Handle) Unregister(start, length uint64) error {
	return h.onRange("unregister", ioctlUnregister, rangeRecord{start, length})
}

// Wake lets each thread that waits in [start, start+length), in bytes, try
// again. A page that is still missing then faults anew. A handler that takes
// over from one that died calls it for everything that is registered: faults
// that the other had read are reported again.
func (h *Handle) Wake(start, length uint64) error {
	return h.onRange("wake", ioctlWake, rangeRecord{start, length})
}

func (h *Handle) onRange(verb string, request uintptr, r rangeRecord) error {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.fd < 0 {
		return os.ErrClosed
	}
	if errno := r.do(h.fd, request); errno != 0 {
		return rangeError(verb, r, errno)
	}
	return nil
}

func rangeError(verb string, r rangeRecord, err error) error {
	return fmt.Errorf("%s range %#x+%#x: %w", verb, r.start, r.length, err)
}
