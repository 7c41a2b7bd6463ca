package firecracker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// socketMode lets only this user's VMMs, and root's, connect.
const socketMode = 0o600

// Listener waits for VMMs. Any goroutine may use it; several may be in Accept,
// so that a VMM that is slow does not hold up others.
type Listener struct {
	listener *net.UnixListener
	path     string
	inode    fs.FileInfo   // of the socket that was made
	turn     chan struct{} // held by the goroutine that waits for a connection
	closing  sync.Once
	closed   error // of the first Close
}

// Listen makes a UNIX stream socket at path, which only this user may use. A
// socket that nobody listens on is replaced; the error wraps ErrInUse if
// somebody does, and ErrNotSocket if path is something else.
func Listen(path string) (*Listener, error) {
	if err := removeStale(path); err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	// The mode of the socket before it has a name is the mode of the name.
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		return errors.Join(c.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), socketMode) }), err)
	}}
	listener, err := config.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, err // it names the path
	}
	l := &Listener{listener: listener.(*net.UnixListener), path: path, turn: make(chan struct{}, 1)}
	l.listener.SetUnlinkOnClose(false)
	if l.inode, err = os.Lstat(path); err != nil {
		return nil, errors.Join(fmt.Errorf("listen on %s: %w", path, err), listener.Close())
	}
	return l, nil
}

// removeStale removes a socket whose owner is gone.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return ErrNotSocket
	}
	conn, err := net.DialTimeout("unix", path, dialTimeout)
	switch {
	case err == nil:
		return errors.Join(ErrInUse, conn.Close())
	case errors.Is(err, unix.ECONNREFUSED):
		return os.Remove(path)
	default:
		return fmt.Errorf("%w, or it may not be asked: %w", ErrInUse, err)
	}
}

// Accept returns the hand-off of the next VMM. The error is a *RefusedError if
// that VMM was turned away, and Accept may be called again; it is the cause of
// ctx, or wraps net.ErrClosed, when nothing more can come.
func (l *Listener) Accept(ctx context.Context) (*Handoff, error) {
	conn, err := l.connection(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close() // nothing is ever sent back
	return receive(ctx, conn)
}

// connection accepts one. One goroutine at a time waits in the system call,
// because the deadline that ends the wait with ctx is the listener's.
func (l *Listener) connection(ctx context.Context) (*net.UnixConn, error) {
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-l.turn }()
	_ = l.listener.SetDeadline(time.Time{}) // fails only when closed, as the next call says
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = l.listener.SetDeadline(time.Unix(1, 0))
		close(woken)
	})
	conn, err := l.listener.AcceptUnix()
	if !stop() {
		<-woken
	}
	switch {
	case err == nil:
		return conn, nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	default:
		return nil, fmt.Errorf("accept VMM: %w", err)
	}
}

// Close ends each Accept and removes the socket, unless another one has taken
// its place. Hand-offs that were accepted are not touched. Further calls do
// nothing.
func (l *Listener) Close() error {
	l.closing.Do(func() {
		if now, err := os.Lstat(l.path); err == nil && os.SameFile(now, l.inode) {
			l.closed = os.Remove(l.path)
		}
		l.closed = errors.Join(l.closed, l.listener.Close())
	})
	if l.closed != nil {
		return fmt.Errorf("close %s: %w", l.path, l.closed)
	}
	return nil
}
