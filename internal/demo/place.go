package demo

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// placePrefix begins the name of every workplace.
const placePrefix = "lazymig-demo-"

// lockFile is held by the process whose workplace it is, so that others see
// whether it lives, also from another container.
const lockFile = "lock"

// workplace is where a run makes things: a folder for files and sockets and
// one in tmpfs for memory, of the same name. Processes carry the name in their
// environment.
type workplace struct {
	name   string
	dir    string
	memory string
	lock   *os.File
}

// newWorkplace makes the folders, for this user alone.
func newWorkplace(shm string) (*workplace, error) {
	name := placePrefix + strings.ToLower(rand.Text()[:12])
	w := &workplace{name: name, dir: filepath.Join(os.TempDir(), name), memory: filepath.Join(shm, name)}
	if len(w.dir)+longestSocket > socketPath {
		return nil, &Error{
			text: fmt.Sprintf("%s is too long a path for sockets", os.TempDir()),
			hint: "set TMPDIR to a shorter one, such as /tmp",
		}
	}
	if err := os.Mkdir(w.memory, 0o700); err != nil {
		return nil, fmt.Errorf("make a folder for the guest's memory: %w", err)
	}
	err := w.acquire()
	if err == nil {
		err = os.Mkdir(w.dir, 0o700)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make a folder for the demonstration: %w", err), w.remove())
	}
	return w, nil
}

// acquire makes the lock and takes it. Nobody contends for it: a sweeper leaves
// a workplace alone that is so young.
func (w *workplace) acquire() (err error) {
	w.lock, err = os.OpenFile(filepath.Join(w.memory, lockFile), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return unix.Flock(int(w.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
}

// path returns the path of something in the workplace.
func (w *workplace) path(parts ...string) string {
	return filepath.Join(append([]string{w.dir}, parts...)...)
}

// remove ends every process of the workplace and removes everything.
func (w *workplace) remove() error {
	errs := []error{killMarked(w.name), os.RemoveAll(w.dir), os.RemoveAll(w.memory)}
	if w.lock != nil {
		errs = append(errs, w.lock.Close())
		w.lock = nil
	}
	return errors.Join(errs...)
}

// sweep removes the workplaces that killed processes of this user have left.
func sweep(shm string) error {
	paths, err := filepath.Glob(filepath.Join(shm, placePrefix+"*"))
	if err != nil {
		return err
	}
	var errs []error
	for _, path := range paths {
		w, err := abandoned(path)
		if err != nil {
			errs = append(errs, err)
		}
		if w != nil {
			errs = append(errs, w.remove())
		}
	}
	return errors.Join(errs...)
}

// abandoned returns the workplace at path, locked, if it is this user's and its
// owner lives no more.
func abandoned(path string) (*workplace, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // removed meanwhile
	}
	if err != nil {
		return nil, err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.IsDir() || int(stat.Uid) != os.Geteuid() || time.Since(info.ModTime()) < youngPlace && !hasLock(path) {
		return nil, nil
	}
	name := filepath.Base(path)
	w := &workplace{name: name, dir: filepath.Join(os.TempDir(), name), memory: path}
	w.lock, err = os.OpenFile(filepath.Join(path, lockFile), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(w.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, w.lock.Close() // its owner lives
	}
	return w, nil
}

func hasLock(path string) bool {
	info, err := os.Lstat(filepath.Join(path, lockFile))
	return err == nil && time.Since(info.ModTime()) >= time.Second
}
