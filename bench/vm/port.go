package vm

import (
	"errors"
	"io"
	"sync"

	"github.com/lazymig/lazymig/bench/host"
)

// port is one serial port: a socket to which one QEMU connects. Its goroutine
// accepts, and then serves the connection.
type port struct {
	listener host.Listener
	serve    func(io.Reader)
	done     chan struct{} // closed when serveConnection has ended

	mu     sync.Mutex // guards conn until connected is closed, and closed
	closed bool

	connected chan struct{} // closed when conn is set
	conn      host.Caller
}

func listen(on host.Host, path string, serve func(io.Reader)) (*port, error) {
	listener, err := on.Listen(path)
	if err != nil {
		return nil, err
	}
	p := &port{listener: listener, serve: serve, done: make(chan struct{}), connected: make(chan struct{})}
	go p.serveConnection()
	return p, nil
}

func (p *port) serveConnection() {
	defer close(p.done)
	conn, err := p.listener.Accept()
	if err != nil {
		return // closed
	}
	if p.adopt(conn) {
		p.serve(conn)
		_, _ = io.Copy(io.Discard, conn) // or what brings it would wait for a reader
	}
}

// adopt takes a connection, unless the port has been closed meanwhile.
func (p *port) adopt(conn host.Caller) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		_ = conn.Close()
		return false
	}
	p.conn = conn
	close(p.connected)
	return true
}

// write sends a command; only one goroutine at a time may call it, after
// connected.
func (p *port) write(line string) error {
	_, err := io.WriteString(p.conn, line)
	return err
}

// close kills the connected process and ends the goroutine.
func (p *port) close() error {
	problems := []error{p.listener.Close()}
	p.mu.Lock()
	p.closed = true
	conn := p.conn
	p.mu.Unlock()
	if conn != nil {
		problems = append(problems, conn.Kill(), conn.Close())
	}
	<-p.done
	return errors.Join(problems...)
}
