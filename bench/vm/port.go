package vm

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lazymig/lazymig/bench/leftover"
)

// port is one serial port: a socket to which one QEMU connects. Its goroutine
// accepts, and then serves the connection.
type port struct {
	listener *net.UnixListener
	serve    func(io.Reader)
	done     chan struct{} // closed when serveConnection has ended

	mu     sync.Mutex // guards conn until connected is closed, and closed
	closed bool

	connected chan struct{} // closed when what follows is set
	conn      *net.UnixConn
	pid       int
	pidfd     int // -1 if the process has ended
}

func listen(path string, serve func(io.Reader)) (*port, error) {
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen for a serial port: %w", err)
	}
	p := &port{listener: listener, serve: serve, done: make(chan struct{}), connected: make(chan struct{}), pidfd: -1}
	go p.serveConnection()
	return p, nil
}

func (p *port) serveConnection() {
	defer close(p.done)
	conn, err := p.listener.AcceptUnix()
	if err != nil {
		return // closed
	}
	if p.adopt(conn) {
		p.serve(conn)
	}
}

// adopt takes a connection, unless the port has been closed meanwhile.
func (p *port) adopt(conn *net.UnixConn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		_ = conn.Close()
		return false
	}
	p.conn = conn
	p.pid, p.pidfd = peer(conn)
	close(p.connected)
	return true
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

// write sends a command; only one goroutine at a time may call it, after
// connected.
func (p *port) write(line string) error {
	_, err := io.WriteString(p.conn, line)
	return err
}

// wait waits until the connected process has ended.
func (p *port) wait(timeout time.Duration) error {
	if p.pidfd < 0 {
		return nil
	}
	return leftover.WaitFD(p.pidfd, timeout)
}

// close kills the connected process and ends the goroutine.
func (p *port) close() error {
	problems := []error{p.listener.Close()}
	p.mu.Lock()
	p.closed = true
	conn := p.conn
	p.mu.Unlock()
	if conn != nil {
		if p.pidfd >= 0 {
			problems = append(problems, leftover.KillFD(p.pidfd), unix.Close(p.pidfd))
		}
		problems = append(problems, conn.Close())
	}
	<-p.done
	return errors.Join(problems...)
}
