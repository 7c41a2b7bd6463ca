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

// Link is what a source and a destination talk over: a demand connection with
// the control stream and the demand page stream, and bulk connections with a
// page stream each. It ends as a whole, once, with a cause. All methods may be
// called from any goroutine.
//
// Who reads io.EOF from Control has read everything that the peer had to say
// and should close the link, with CloseGracefully if it has written itself.
type Link struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	ended  chan struct{} // closed when every connection is

	conns   []*conn // the demand connection first
	control Stream
	demand  Stream
	bulk    []Stream
	recipe  Stream
	peer    string

	confirmOnce sync.Once
	readAll     chan struct{} // closed when Control was read to its end
}

// streams are the streams of a link in the making.
type streams struct {
	control, demand *quic.Stream
	bulk            []*quic.Stream
	recipe          *quic.Stream
}

// newLink takes over the connections, of which conns[0] is the demand
// connection. From here on the link ends when one of them does.
func newLink(conns []*conn, s streams) *Link {
	l := &Link{conns: conns, peer: conns[0].peer(), ended: make(chan struct{}), readAll: make(chan struct{})}
	l.ctx, l.cancel = context.WithCancelCause(context.Background())
	l.control = Stream{&part{l, s.control, wire.RoleControl}}
	l.demand = Stream{&part{l, s.demand, wire.RoleDemand}}
	for _, b := range s.bulk {
		l.bulk = append(l.bulk, Stream{&part{l, b, wire.RoleBulk}})
	}
	l.recipe = Stream{&part{l, s.recipe, wire.RoleRecipe}}
	context.AfterFunc(l.ctx, l.shutdown)
	for i, c := range conns {
		context.AfterFunc(c.Context(), func() { l.end(partError(i, context.Cause(c.Context()))) })
	}
	return l
}

// partError names the part of a link that died, unless it was closed.
func partError(i int, err error) error {
	err = explain(err, true)
	if _, ok := errors.AsType[*ClosedError](err); ok {
		return err
	}
	if i == 0 {
		return fmt.Errorf("demand connection: %w", err)
	}
	return fmt.Errorf("bulk connection %d: %w", i-1, err)
}

// Control returns the stream for everything but pages.
func (l *Link) Control() Stream { return l.control }

// Demand returns the page stream for faults.
func (l *Link) Demand() Stream { return l.demand }

// Bulk returns the page streams for everything else.
func (l *Link) Bulk() []Stream { return l.bulk }

// Recipe returns the stream for what the destination has and what the guest's
// memory is made of.
func (l *Link) Recipe() Stream { return l.recipe }

// Done returns a channel that is closed when the link ends.
func (l *Link) Done() <-chan struct{} { return l.ctx.Done() }

// Err returns why the link ended, or nil while it has not. The cause wraps
// ErrPeerGone for a silent peer, ErrReplaced for one that dialled again, and
// is a *ClosedError after a Close by either side.
func (l *Link) Err() error { return context.Cause(l.ctx) }

// Peer returns the name in the peer's certificate.
func (l *Link) Peer() string { return l.peer }

// RemoteAddr returns the address of the peer's demand connection.
func (l *Link) RemoteAddr() net.Addr { return l.conns[0].RemoteAddr() }

// RTT returns the smoothed and the smallest round-trip time of the demand
// connection, as QUIC measures them.
func (l *Link) RTT() (smoothed, smallest time.Duration) {
	s := l.conns[0].ConnectionStats()
	return s.SmoothedRTT, s.MinRTT
}

// BytesSent returns the bytes of all QUIC packets sent, with repeated ones,
// without UDP and IP headers. It stays readable after the end.
func (l *Link) BytesSent() (n uint64) {
	for _, c := range l.conns {
		n += c.ConnectionStats().BytesSent
	}
	return n
}

// BytesReceived returns the bytes of all QUIC packets received.
func (l *Link) BytesReceived() (n uint64) {
	for _, c := range l.conns {
		n += c.ConnectionStats().BytesReceived
	}
	return n
}

// Close ends the link at once and tells the peer why. What was written and is
// not there yet is lost: CloseGracefully waits for it. It returns when all
// connections are closed. Closing again does nothing.
func (l *Link) Close(code wire.Code, reason string) {
	l.end(&ClosedError{Code: code, Reason: reason})
	<-l.ended
}

// end ends the link with a cause; the first one counts.
func (l *Link) end(cause error) { l.cancel(cause) }

// shutdown closes all connections. It runs once, when the link has ended.
func (l *Link) shutdown() {
	code, reason := wire.CodeBroken, ""
	if c, ok := errors.AsType[*ClosedError](l.Err()); ok && !c.Remote {
		code, reason = c.Code, c.Reason
	} else {
		reason = l.Err().Error()
	}
	full := codeOf(code)
	select {
	case <-l.readAll:
		full |= readAllBit
	default:
	}
	for _, c := range l.conns {
		c.close(full, reason)
	}
	close(l.ended)
}
