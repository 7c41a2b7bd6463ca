package failover

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// dataSync forces the content of f to the disk.
func dataSync(f *os.File) error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// makeDir creates dir and its missing parents, each one durable.
func makeDir(dir string) error {
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		return &fs.PathError{Op: "mkdir", Path: dir, Err: unix.ENOTDIR}
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(dir)
	if err := makeDir(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(parent)
}

// replaceFile writes content to dir/temporary, renames it to dir/name, and
// makes both durable. It returns the file, open for writing.
func replaceFile(dir, temporary, name string, content []byte) (*os.File, error) {
	path := filepath.Join(dir, temporary)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = os.Rename(path, filepath.Join(dir, name))
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// acquireLock takes an exclusive lock and leaves the process id in the file.
// The lock ends with the process. The file is never removed: a second one of
// the same name could be locked beside it.
func acquireLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		writeHolder(f)
		return f, nil
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = fmt.Errorf("%w by process %s; wait for it, or cancel its migration", ErrBusy, lockHolder(f))
	}
	return nil, errors.Join(err, f.Close())
}

// writeHolder leaves our process id for the message that others get. Its errors
// are passed over: a full disk must not keep a keeper from its work.
func writeHolder(f *os.File) {
	if f.Truncate(0) == nil {
		_, _ = f.WriteString(strconv.Itoa(os.Getpid()))
	}
}

func lockHolder(f *os.File) string {
	text, err := io.ReadAll(io.NewSectionReader(f, 0, maxPID))
	if pid, numErr := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && numErr == nil {
		return strconv.Itoa(pid)
	}
	return "(unknown)"
}

// releaseLock gives the lock back and takes our process id out of the file.
func releaseLock(f *os.File) error {
	return errors.Join(f.Truncate(0), f.Close())
}
