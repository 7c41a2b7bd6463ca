package host

import (
	"fmt"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lazymig/lazymig/bench/leftover"
)

// listener is a socket of this machine.
type listener struct{ *net.UnixListener }

// Listen makes a UNIX socket.
func (*Local) Listen(path string) (Listener, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen for a program: %w", err)
	}
	return listener{l}, nil
}

// Accept waits for a program.
func (l listener) Accept() (Caller, error) {
	conn, err := l.AcceptUnix()
	if err != nil {
		return nil, err
	}
	pid, pidfd := peer(conn)
	return &caller{UnixConn: conn, pid: pid, pidfd: pidfd}, nil
}

// caller is a process of this machine.
type caller struct {
	*net.UnixConn
	pid   int
	pidfd int // -1 if it had ended

	closing sync.Once
	closed  error
}

// peer returns the process at the other end; pidfd is -1 if it has ended.
func peer(conn *net.UnixConn) (pid, pidfd int) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, -1
	}
	pidfd = -1
	_ = raw.Control(func(fd uintptr) {
		credentials, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err != nil {
			return
		}
		pid = int(credentials.Pid)
		if opened, err := unix.PidfdOpen(pid, 0); err == nil {
			pidfd = opened
		}
	})
	return pid, pidfd
}

// PID returns the process.
func (c *caller) PID() int { return c.pid }

// Kill ends it and waits.
func (c *caller) Kill() error {
	if c.pidfd < 0 {
		return nil
	}
	return leftover.KillFD(c.pidfd)
}

// Wait waits until it has ended.
func (c *caller) Wait(timeout time.Duration) error {
	if c.pidfd < 0 {
		return nil
	}
	return leftover.WaitFD(c.pidfd, timeout)
}

// Close hangs up. It is safe to call more than once, when Kill and Wait have
// returned.
func (c *caller) Close() error {
	c.closing.Do(func() {
		if c.pidfd >= 0 {
			_ = unix.Close(c.pidfd) // a descriptor of ours
		}
		c.closed = c.UnixConn.Close()
	})
	return c.closed
}
