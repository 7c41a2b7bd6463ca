package demo

import (
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/lazymig/lazymig/bench/heartbeat"
)

// port is a serial port: a socket to which one VMM connects, and whose text is
// a part of the heartbeat.
type port struct {
	stream   *heartbeat.Stream
	listener *net.UnixListener
	wait     sync.WaitGroup

	mu     sync.Mutex // protects all below
	conn   net.Conn
	closed bool
}

func listenPort(path string, stream *heartbeat.Stream) (*port, error) {
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen for a serial port: %w", err)
	}
	p := &port{stream: stream, listener: listener}
	p.wait.Go(p.serve)
	return p, nil
}

// serve reads what the first VMM writes that connects.
func (p *port) serve() {
	conn, err := p.listener.Accept()
	if err != nil {
		return // closed
	}
	if p.adopt(conn) {
		p.stream.Serve(conn)
	}
}

func (p *port) adopt(conn net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		_ = conn.Close() // nobody will read it
		return false
	}
	p.conn = conn
	return true
}

func (p *port) close() error {
	errs := []error{p.listener.Close()}
	p.mu.Lock()
	p.closed = true
	if p.conn != nil {
		errs = append(errs, p.conn.Close())
	}
	p.mu.Unlock()
	p.wait.Wait()
	return errors.Join(errs...)
}
