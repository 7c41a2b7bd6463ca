package pagecache

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// storage is a file that pages or records are in: one of the system, or one of
// the tests that fails. It is never mapped: what a disk cannot read any more is
// an error then, and not a signal.
type storage interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// PeekAt fills p without waiting for a disk, or returns errWouldWait.
	PeekAt(p []byte, offset int64, inMemory bool) error
	// Allocate makes the file long enough and its space sure.
	Allocate(offset, length int64) error
	Truncate(size int64) error
	Size() (int64, error)
}

type file struct{ *os.File }

// openFile opens or makes a file of a cache.
func openFile(path string) (storage, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	return file{f}, nil
}

// openMemory makes a file that has no name and is in memory.
func openMemory(name string) (storage, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3
		fd, err = unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	}
	if err != nil {
		return nil, fmt.Errorf("create page cache in memory: %w", err)
	}
	return file{os.NewFile(uintptr(fd), name)}, nil
}

func (f file) PeekAt(p []byte, offset int64, inMemory bool) error {
	return peekAt(f.File, p, offset, inMemory)
}

func (f file) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (f file) Allocate(offset, length int64) error {
	size, err := f.Size()
	if err != nil {
		return err
	}
	for {
		err := unix.Fallocate(int(f.Fd()), 0, offset, length)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EOPNOTSUPP):
			return f.extend(offset + length)
		default:
			// Some file systems keep what they found: the disk would stay full.
			return errors.Join(os.NewSyscallError("fallocate", err), f.Truncate(size))
		}
	}
}

// extend is for file systems that cannot allocate ahead. There a write fails
// that has no room, which is counted like any other.
func (f file) extend(size int64) error {
	if have, err := f.Size(); err != nil || have >= size {
		return err
	}
	return f.Truncate(size)
}

// LockedError is returned by Open when another process has the directory.
type LockedError struct {
	// Dir is the directory.
	Dir string
	// PID is the process, or 0 if it is unknown.
	PID int
}

// Error says who has it.
func (e *LockedError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("cache directory %s is in use by another process", e.Dir)
	}
	return fmt.Sprintf("cache directory %s is in use by process %d", e.Dir, e.PID)
}

// Hint says what to do.
func (e *LockedError) Hint() string {
	return "wait until that process has ended, or give this one a cache directory of its own"
}

// acquireLock takes the directory for this process. The lock ends with the
// process. The file is never removed: a second one of the same name could be
// locked beside it.
func acquireLock(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock cache directory: %w", err)
	}
	// One of the open file, not of the process: a second Open of this process
	// is refused too. And whether it is held can be asked without taking it.
	err = unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
	if err == nil {
		writeHolder(f)
		return f, nil
	}
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		err = &LockedError{Dir: dir, PID: lockHolder(f)}
	} else {
		err = fmt.Errorf("lock cache directory %s: %w", dir, err)
	}
	return nil, errors.Join(err, f.Close())
}

// writeHolder leaves our process id for the message that others get. Its errors
// are passed over: a full disk has room for the cache that is there.
func writeHolder(f *os.File) {
	if f.Truncate(0) == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())), 0)
	}
}

func lockHolder(f *os.File) int {
	text, err := io.ReadAll(io.NewSectionReader(f, 0, maxPID))
	pid, numErr := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || numErr != nil {
		return 0
	}
	return pid
}

// closeFiles closes what was opened, the lock last.
func (s *Store) closeFiles() error {
	var errs []error
	for _, f := range []storage{s.arena, s.index} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Truncate(0), s.lock.Close())
	}
	return errors.Join(errs...)
}
