package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/lazymig/lazymig/internal/migrate"
	"golang.org/x/sys/unix"
)

const (
	socketName = "engine.sock"
	lockName   = "engine.lock"
)

// ErrNoEngine is returned by Dial when no engine works on the VM.
var ErrNoEngine = errors.New("no engine is at work on this VM")

// BusyError is returned when another engine works on the same VM in the same
// state directory.
type BusyError struct {
	// VM is the directory of the VM, PID the other engine's.
	VM, PID string
}

// Error says who is in the way.
func (e *BusyError) Error() string {
	return fmt.Sprintf("another engine is at work in %s (pid %s)", e.VM, e.PID)
}

// Hint says what to do.
func (e *BusyError) Hint() string {
	return fmt.Sprintf("see `lazymig status %s`; two sides on one host need a --state-dir each", filepath.Base(e.VM))
}

// socket is the door of an engine. The lock, not the socket file, makes it the
// only one: the kernel gives it back however a process ends.
type socket struct {
	listener *net.UnixListener
	lock     *os.File
	path     string
}

// listen opens DIR/engine.sock, for this user only. It replaces a socket file
// that a dead engine left, and fails with a BusyError if one is alive.
func listen(dir string) (*socket, error) {
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	s := &socket{lock: lock, path: filepath.Join(dir, socketName)}
	if s.listener, err = bind(dir); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return s, nil
}

func lockDir(dir string) (*os.File, error) {
	lock, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the engine's lock: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer lock.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", lock.Name(), err)
		}
		var pid [16]byte
		n, _ := lock.ReadAt(pid[:], 0) // the pid is a courtesy
		return nil, &BusyError{VM: dir, PID: strings.TrimSpace(string(pid[:n]))}
	}
	if err := errors.Join(lock.Truncate(0), writeAt(lock, strconv.Itoa(os.Getpid())+"\n")); err != nil {
		return nil, errors.Join(fmt.Errorf("write the engine's lock: %w", err), lock.Close())
	}
	return lock, nil
}

func writeAt(f *os.File, text string) error {
	_, err := f.WriteAt([]byte(text), 0)
	return err
}

// bind listens in dir, whose lock this process holds.
func bind(dir string) (*net.UnixListener, error) {
	name, done, err := shortPath(dir)
	if err != nil {
		return nil, err
	}
	defer done()
	if conn, err := net.DialTimeout("unix", name, dialTimeout); err == nil {
		conn.Close()
		return nil, &BusyError{VM: dir, PID: "unknown"}
	}
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove a stale socket: %w", err)
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: name, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen in %s: %w", dir, err)
	}
	listener.SetUnlinkOnClose(false) // by a name that is gone when done() ran
	if err := os.Chmod(name, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("close the socket to others: %w", err), listener.Close())
	}
	return listener, nil
}

// close takes the socket file away and lets the next engine in.
func (s *socket) close() {
	_ = os.Remove(s.path) // one that stays is replaced by the next engine
	s.listener.Close()
	s.lock.Close()
}

// connect returns a connection to the engine of a VM, or ErrNoEngine.
func connect(dir string) (*net.UnixConn, error) {
	name, done, err := shortPath(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, ErrNoEngine
	}
	if err != nil {
		return nil, err
	}
	defer done()
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", name)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ECONNREFUSED):
		return nil, ErrNoEngine
	case err != nil:
		return nil, fmt.Errorf("connect to the engine in %s: %w", dir, err)
	}
	return conn.(*net.UnixConn), nil
}

// shortPath returns a name of the socket that fits into a socket address
// however long the directory's own name is. The name holds until done.
func shortPath(dir string) (name string, done func(), err error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", nil, fmt.Errorf("open the state directory %s: %w", dir, err)
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", fd, socketName), func() { unix.Close(fd) }, nil
}

// makeDir makes the directory of a VM's state, for this user only.
func makeDir(stateDir, vm string) (string, error) {
	dir, err := migrate.VMDir(stateDir, vm)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make the state directory: %w", err)
	}
	return dir, nil
}
