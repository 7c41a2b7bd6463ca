package uffd

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// Support says whether the running kernel has a feature.
type Support int

const (
	// Inconclusive means that the kernel could not be asked.
	Inconclusive Support = iota
	// Supported means that the kernel offers the feature.
	Supported
	// Unsupported means that the kernel does not offer it.
	Unsupported
)

// String returns "inconclusive", "supported" or "unsupported".
func (s Support) String() string {
	switch s {
	case Inconclusive:
		return "inconclusive"
	case Supported:
		return "supported"
	case Unsupported:
		return "unsupported"
	}
	return fmt.Sprintf("Support(%d)", int(s))
}

// offered caches the kernel's answer. A failure is not kept: it may have been
// a lack of descriptors or of a permission that came later.
var offered struct {
	mu       sync.Mutex // protects what follows
	known    bool
	features Feature
}

// Features returns all features that the running kernel offers. It asks the
// kernel once, by a userfaultfd of its own; versions are never looked at. The
// error wraps unix.ENOSYS if the kernel was built without userfaultfd.
func Features() (Feature, error) {
	offered.mu.Lock()
	defer offered.mu.Unlock()
	if offered.known {
		return offered.features, nil
	}
	features, err := askKernel()
	if err != nil {
		return 0, fmt.Errorf("probe userfaultfd: %w", err)
	}
	offered.features, offered.known = features, true
	return features, nil
}

// Probe reports whether the running kernel offers every feature in f. The
// error is not nil only if the answer is Inconclusive, and says why.
func Probe(f Feature) (Support, error) {
	has, err := Features()
	switch {
	case errors.Is(err, unix.ENOSYS):
		return Unsupported, nil
	case err != nil:
		return Inconclusive, err
	case has&f == f:
		return Supported, nil
	default:
		return Unsupported, nil
	}
}

func askKernel() (Feature, error) {
	fd, err := openForProbe()
	if err != nil {
		return 0, err
	}
	defer func() { _ = unix.Close(fd) }()
	record := apiRecord{api: apiVersion}
	if errno := record.handshake(fd); errno != 0 {
		return 0, errno
	}
	return Feature(record.features), nil
}

// openForProbe also serves users who may not handle faults of the kernel:
// what a kernel offers does not depend on who asks. Kernels before 5.11 do not
// know the flag.
func openForProbe() (int, error) {
	fd, err := create(unix.O_CLOEXEC | userModeOnly)
	if err == nil {
		return fd, nil
	}
	return openFull(unix.O_CLOEXEC)
}
