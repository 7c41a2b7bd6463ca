package quictransport

import (
	"context"
	"crypto/hmac"
	"fmt"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/lazymig/lazymig/internal/wire"
)

// arrival is one connection that a listener got, before it is part of a link.
// A goroutine of its own takes it from the handshake to its group.
type arrival struct {
	conn        *conn
	fingerprint [32]byte
	hello       wire.Hello // of its first stream

	control, demand *quic.Stream // of a demand connection
	bulk            *quic.Stream // of a bulk connection
	recipe          *quic.Stream // of the first bulk connection
}

// serveConnections takes connections whose handshake is over.
func (l *Listener) serveConnections() {
	for {
		q, err := l.quic.Accept(l.ctx)
		if err != nil {
			// Only a closed listener or a dead socket ends Accept.
			l.cancel(fmt.Errorf("accept connection: %w", err))
			return
		}
		if t, ok := q.Context().Value(attemptKey{}).(*attempt); ok {
			t.arrive()
		}
		a := &arrival{conn: &conn{Conn: q}}
		a.fingerprint = a.conn.fingerprint()
		if !l.reserve(a) {
			l.attempts.report(q.RemoteAddr(), fmt.Errorf("too many connections of %q that are in no link", a.conn.peer()))
			a.conn.close(codeOf(wire.CodeBusy), "too many connections at once")
			continue
		}
		l.work.Go(func() { l.receive(a) })
	}
}

// reserve counts a connection that is in no link yet; false if there are too
// many.
func (l *Listener) reserve(a *arrival) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.total >= maxPending || l.pending[a.fingerprint] >= maxPendingOfPeer {
		return false
	}
	l.total++
	l.pending[a.fingerprint]++
	return true
}

// release undoes reserve.
func (l *Listener) release(all ...*arrival) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range all {
		l.total--
		if l.pending[a.fingerprint]--; l.pending[a.fingerprint] == 0 {
			delete(l.pending, a.fingerprint)
		}
	}
}

// receive takes one connection to its group, or refuses it.
func (l *Listener) receive(a *arrival) {
	err := l.greet(a)
	if err == nil {
		err = l.assemble(a)
	}
	if err == nil {
		return // it is the group's, and Accept's
	}
	l.attempts.report(a.conn.RemoteAddr(), explain(err, true))
	l.sendRefusal(a.conn, a.control, refusal(err))
	l.release(a)
}

// greet reads the Hello of each stream of the connection.
func (l *Listener) greet(a *arrival) error {
	ctx, cancel := context.WithTimeout(l.ctx, helloTimeout)
	defer cancel()
	s, hello, err := l.readHello(ctx, a.conn)
	// Whatever is wrong with the first stream is answered on it.
	a.control = s
	if err != nil {
		return err
	}
	a.hello = hello
	switch hello.Role {
	case wire.RoleBulk:
		a.control, a.bulk = nil, s
		if hello.Index == 0 {
			a.recipe, err = l.second(ctx, a, wire.RoleRecipe)
		}
		return err
	case wire.RoleControl:
		a.demand, err = l.second(ctx, a, wire.RoleDemand)
		return err
	case wire.RoleDemand, wire.RoleRecipe:
	}
	return fmt.Errorf("%w: the first stream of a connection is its %s stream", wire.ErrUnexpected, hello.Role)
}

// second accepts the second stream of a connection.
func (l *Listener) second(ctx context.Context, a *arrival, role wire.Role) (*quic.Stream, error) {
	s, hello, err := l.readHello(ctx, a.conn)
	if err != nil {
		return nil, err
	}
	if hello.Role != role || hello.Session != a.hello.Session || hello.Attempt != a.hello.Attempt {
		return nil, fmt.Errorf("%w: the second stream says it is the %s stream of another link", wire.ErrUnexpected, hello.Role)
	}
	return s, nil
}

// readHello accepts a stream and reads its first frame, which must be the
// Hello of a peer that fits to this side.
func (l *Listener) readHello(ctx context.Context, c *conn) (*quic.Stream, wire.Hello, error) {
	s, err := c.AcceptStream(ctx)
	if err != nil {
		return nil, wire.Hello{}, fmt.Errorf("wait for stream: %w", err)
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = s.SetReadDeadline(deadline) // never fails
	}
	_, payload, err := wire.ReadFrameOf(s, nil, wire.TypeHello)
	if err != nil {
		return s, wire.Hello{}, fmt.Errorf("wait for hello: %w", err)
	}
	hello, err := wire.ParseHello(payload)
	if err != nil {
		return s, wire.Hello{}, err
	}
	_ = s.SetReadDeadline(time.Time{}) // never fails
	return s, hello, l.checkHello(hello)
}

// checkHello compares what the peer says of itself with this side.
func (l *Listener) checkHello(hello wire.Hello) error {
	if hello.Purpose != l.config.Purpose {
		return &RefusedError{
			Code: wire.CodeEngine, Text: fmt.Sprintf("this listener is for links of purpose %q, not %q", l.config.Purpose, hello.Purpose),
			Hint: "lazymig send talks to lazymig receive, lazymig serve-uffd to lazymig serve-memory",
		}
	}
	if hello.Insecure != l.id.Insecure {
		return &RefusedError{
			Code: wire.CodeInsecure, Text: "only one side runs with --insecure-loopback",
			Hint: "use --insecure-loopback on both sides or on none",
		}
	}
	if want := l.id.keyCheck(hello.Session); !hmac.Equal(hello.KeyCheck[:], want[:]) {
		return &RefusedError{
			Code: wire.CodeKey, Text: "both sides have different domain keys",
			Hint: "copy domain.key from the CA's folder to both hosts",
		}
	}
	return nil
}
