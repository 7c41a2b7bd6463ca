package metal

import (
	"fmt"
	"io"
	"net"
	"path/filepath"
	"sync"
	"time"

	"github.com/lazymig/lazymig/bench/host"
)

// stream is the driver's end of a connection that is on the other machine.
type stream struct {
	remote *Remote
	number uint64
	in     *io.PipeReader
	closer sync.Once
	closed error
}

// newStream returns a stream. What comes waits until it is read, and everything
// else behind it: whoever makes one reads it or closes it.
func (r *Remote) newStream() *stream {
	in, out := io.Pipe()
	s := &stream{remote: r, in: in}
	s.number = r.addSink(out)
	return s
}

func (s *stream) Read(b []byte) (int, error) { return s.in.Read(b) }

func (s *stream) Write(b []byte) (int, error) {
	for rest := b; len(rest) > 0; {
		part := rest[:min(len(rest), chunk)]
		if err := s.remote.send(message{Stream: s.number, Data: part}); err != nil {
			return 0, err
		}
		rest = rest[len(part):]
	}
	return len(b), nil
}

// Close hangs up. It is safe to call more than once.
func (s *stream) Close() error {
	s.closer.Do(func() {
		_ = s.in.CloseWithError(net.ErrClosed) // always nil
		s.remote.dropSink(s.number)
		s.closed = s.remote.unlessLost(s.remote.send(message{Stream: s.number, End: true}))
	})
	return s.closed
}

// listener is a socket on the other machine.
type listener struct {
	remote *Remote
	number uint64
}

// Listen makes a UNIX socket there.
func (r *Remote) Listen(path string) (host.Listener, error) {
	l := &listener{remote: r, number: r.number()}
	return l, r.call("listen", socketArgs{Number: l.number, Path: path}, nil)
}

// Accept waits for a program.
func (l *listener) Accept() (host.Caller, error) {
	c := &caller{stream: l.remote.newStream()}
	err := l.remote.callFor(0, "accept", socketArgs{Number: l.number, Stream: c.number}, &c.pid)
	if err != nil {
		_ = c.in.Close() // always nil
		l.remote.dropSink(c.number)
		return nil, err
	}
	return c, nil
}

func (l *listener) Close() error {
	return l.remote.unlessLost(l.remote.call("unlisten", numberArgs{l.number}, nil))
}

// caller is a process on the other machine.
type caller struct {
	*stream
	pid int
}

func (c *caller) PID() int { return c.pid }

func (c *caller) Kill() error {
	return c.remote.unlessLost(c.remote.call("kill-caller", numberArgs{c.number}, nil))
}

func (c *caller) Wait(timeout time.Duration) error {
	return c.remote.callFor(timeout+callTimeout, "wait-caller", socketArgs{Number: c.number, Timeout: timeout}, nil)
}

// Reach returns a socket on this machine for one connection to a socket there.
func (r *Remote) Reach(path string) (string, error) {
	local := filepath.Join(r.dir, fmt.Sprint(r.number()))
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: local, Net: "unix"})
	if err != nil {
		return "", fmt.Errorf("make a socket for one of %s: %w", r.name, err)
	}
	r.reaching.Go(func() { r.serveReach(l, path) })
	return local, nil
}

// serveReach carries a connection. It ends with one of its ends, or the remote.
func (r *Remote) serveReach(l *net.UnixListener, path string) {
	stop := r.whenLost(func() { _ = l.Close() })
	here, err := l.AcceptUnix()
	stop()
	_ = l.Close() // removes the socket
	if err != nil {
		return
	}
	defer here.Close()
	there := r.newStream()
	defer there.Close()
	if err := r.call("dial", socketArgs{Number: there.number, Path: path, Stream: there.number}, nil); err != nil {
		return // which the one who has connected sees
	}
	back := make(chan struct{})
	go func() {
		defer close(back)
		_, _ = io.Copy(here, there)
		_ = here.Close() // ends the other direction
	}()
	_, _ = io.Copy(there, here)
	_ = there.Close()
	<-back
}
