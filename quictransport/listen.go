package quictransport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/lazymig/lazymig/internal/wire"
)

// Listener takes links from sources. A link becomes ready when all its parts
// have arrived and said hello in time; bad and slow peers cost a bounded number
// of connections for a bounded time and never hold up others.
//
// All connections share one UDP socket: QUIC tells them apart, and each has its
// own goroutine for decryption.
type Listener struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	id     *Identity
	config Config

	socket    *net.UDPConn
	transport *quic.Transport
	quic      *quic.Listener
	attempts  *attempts
	work      sync.WaitGroup // every goroutine of the listener
	ready     chan *group
	stopped   chan struct{} // closed when Close is over

	mu      sync.Mutex // protects what follows
	closed  bool
	pending map[[32]byte]int // connections that are in no link, by certificate
	total   int              // their sum
	groups  map[groupKey]*group
	links   map[sessionKey]*Link
}

// sessionKey is a session of one peer.
type sessionKey struct {
	session     [16]byte
	fingerprint [32]byte
}

// Listen opens a listener at addr, HOST:PORT; an empty host means all
// addresses, port 0 a free one. Of cfg, Purpose, Peer and Rejected count. Without
// identities the host must be a loopback address: ErrNotLoopback.
func Listen(addr string, id *Identity, cfg Config) (*Listener, error) {
	l, err := listen(addr, id, cfg)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	return l, nil
}

func listen(addr string, id *Identity, cfg Config) (*Listener, error) {
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	defer cancel()
	local, err := resolve(ctx, addr, id.Insecure)
	if err != nil {
		return nil, err
	}
	network := "udp"
	if local.IP.To4() != nil {
		network = "udp4"
	}
	socket, err := net.ListenUDP(network, local)
	if err != nil {
		return nil, err
	}
	l := &Listener{
		id: id, config: cfg, socket: socket,
		attempts: newAttempts(cfg.Rejected),
		ready:    make(chan *group, maxReady),
		stopped:  make(chan struct{}),
		pending:  make(map[[32]byte]int),
		groups:   make(map[groupKey]*group),
		links:    make(map[sessionKey]*Link),
	}
	l.transport = &quic.Transport{Conn: socket, ConnContext: l.attempts.begin, VerifySourceAddress: l.attempts.crowded}
	conf := quicConfig(2) // control and demand
	conf.GetConfigForClient = l.checkAddress(conf)
	if l.quic, err = l.transport.Listen(id.serverTLS(cfg.Peer), conf); err != nil {
		return nil, errors.Join(err, l.transport.Close(), socket.Close())
	}
	l.ctx, l.cancel = context.WithCancelCause(context.Background())
	l.work.Go(l.serveConnections)
	return l, nil
}

// checkAddress refuses, before the handshake, peers that are not on this host
// if there are no identities.
func (l *Listener) checkAddress(conf *quic.Config) func(*quic.ClientInfo) (*quic.Config, error) {
	return func(info *quic.ClientInfo) (*quic.Config, error) {
		if l.id.Insecure && !isLoopback(info.RemoteAddr) {
			err := loopbackError(info.RemoteAddr.String())
			l.attempts.report(info.RemoteAddr, err)
			return nil, err
		}
		return conf, nil
	}
}

// Addr returns the address that the listener has.
func (l *Listener) Addr() net.Addr { return l.socket.LocalAddr() }

// Accept waits for a link whose parts are all there and asks welcome about it:
// its answer, of which State and Epoch count, goes to the source, or its
// *RefusedError does, and then Accept waits for the next one. Any other error
// of welcome is told to the source as an internal one.
//
// A source that lost its link dials again. When welcome takes the new link of
// a session, the old one ends with a cause that wraps ErrReplaced.
//
// The error is the cause of ctx, or wraps net.ErrClosed after Close.
func (l *Listener) Accept(ctx context.Context, welcome func(wire.Hello, string) (wire.Welcome, error)) (*Link, wire.Hello, error) {
	for {
		var g *group
		select {
		case g = <-l.ready:
		case <-ctx.Done():
			return nil, wire.Hello{}, fmt.Errorf("accept link: %w", context.Cause(ctx))
		case <-l.ctx.Done():
			return nil, wire.Hello{}, fmt.Errorf("accept link: %w", context.Cause(l.ctx))
		}
		link, err := l.answer(g, welcome)
		if err == nil {
			return link, g.control.hello, nil
		}
		l.attempts.report(g.control.conn.RemoteAddr(), err)
	}
}

// answer welcomes or refuses a complete link.
func (l *Listener) answer(g *group, welcome func(wire.Hello, string) (wire.Welcome, error)) (*Link, error) {
	hello := g.control.hello
	// It may have waited here for longer than its source did.
	if err := context.Cause(g.control.conn.Context()); err != nil {
		l.refuse(g, err)
		return nil, fmt.Errorf("welcome link: %w", explain(err, true))
	}
	w, err := welcome(hello, g.control.conn.peer())
	if err != nil {
		l.refuse(g, err)
		return nil, fmt.Errorf("refuse link: %w", err)
	}
	w.Version, w.Session, w.DomainKey = wire.Version, hello.Session, [32]byte{}
	if l.id.Insecure {
		w.DomainKey = l.id.DomainKey
	}
	link := newLink(g.connections())
	l.release(g.arrivals()...)
	if !l.adopt(link, sessionKey{hello.Session, g.control.fingerprint}) {
		link.Close(wire.CodeClosing, "the listener closes")
		return nil, context.Cause(l.ctx)
	}
	if _, err := link.control.Write(w.Append(nil)); err != nil {
		link.Close(wire.CodeBroken, "welcome was not sent")
		return nil, fmt.Errorf("welcome link: %w", err)
	}
	return link, nil
}

// adopt makes link the one of its session. The one before ends.
func (l *Listener) adopt(link *Link, key sessionKey) bool {
	l.mu.Lock()
	old, closed := l.links[key], l.closed
	if !closed {
		l.links[key] = link
	}
	l.mu.Unlock()
	if closed {
		return false
	}
	if old != nil {
		old.end(&ClosedError{Code: wire.CodeReplaced, Reason: "its source has dialled again"})
	}
	context.AfterFunc(link.ctx, func() { l.forget(link, key) })
	return true
}

func (l *Listener) forget(link *Link, key sessionKey) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.links[key] == link {
		delete(l.links, key)
	}
}

// Close ends the listener, everything that is half done, and its links: they
// share its socket. It returns when all of its goroutines have ended. Closing
// again does nothing.
func (l *Listener) Close() error {
	l.mu.Lock()
	again := l.closed
	l.closed = true
	var links []*Link
	for _, link := range l.links {
		links = append(links, link)
	}
	l.mu.Unlock()
	if again {
		<-l.stopped
		return nil
	}
	defer close(l.stopped)
	l.cancel(&ClosedError{Code: wire.CodeClosing, Reason: "the listener was closed"})
	err := l.quic.Close()
	for _, link := range links {
		link.Close(wire.CodeClosing, "the listener was closed")
	}
	l.work.Wait()
	l.drain()
	err = errors.Join(err, l.transport.Close(), l.socket.Close())
	l.attempts.wait()
	return err
}

// drain closes the links that nobody accepted. Nothing adds any by now.
func (l *Listener) drain() {
	for {
		select {
		case g := <-l.ready:
			for _, a := range g.arrivals() {
				a.conn.close(codeOf(wire.CodeClosing), "the listener was closed")
			}
		default:
			return
		}
	}
}

// refuse tells the source of a complete link no, in the background.
func (l *Listener) refuse(g *group, err error) {
	l.start(func() {
		defer l.release(g.arrivals()...)
		l.sendRefusal(g.control.conn, g.control.control, refusal(err))
		for _, b := range g.bulk {
			b.conn.close(codeOf(wire.CodeBroken), "the link was refused")
		}
	})
}

// start runs f in a goroutine of the listener, or here if the listener closes.
func (l *Listener) start(f func()) {
	l.mu.Lock()
	closed := l.closed
	if !closed {
		l.work.Go(f)
	}
	l.mu.Unlock()
	if closed {
		f()
	}
}

// sendRefusal sends a Refuse frame on s, waits a bounded time for the peer to
// read it and go, and closes the connection with the same code.
func (l *Listener) sendRefusal(c *conn, s *quic.Stream, r *RefusedError) {
	code := codeOf(r.Code)
	if s == nil {
		c.close(code, r.Text)
		return
	}
	_ = s.SetWriteDeadline(time.Now().Add(closeTimeout)) // never fails
	if _, err := s.Write(r.frame().Append(nil)); err == nil {
		_ = s.Close() // fails only on a cancelled stream; the code below says the same
		timer := time.NewTimer(closeTimeout)
		defer timer.Stop()
		select {
		case <-c.Context().Done():
		case <-l.ctx.Done():
		case <-timer.C:
		}
	}
	c.close(code, r.Text)
}
