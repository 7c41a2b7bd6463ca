package quictransport

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
)

// attempts counts the handshakes in flight at a listener and reports the ones
// that fail, of which QUIC itself says nothing.
type attempts struct {
	rejected func(net.Addr, error)
	running  atomic.Int64
	open     sync.WaitGroup // connections whose end is to be looked at

	mu   sync.Mutex // protects last, held while rejected runs
	last time.Time
}

type attemptKey struct{}

// attempt is one connection, from its first packet to its end.
type attempt struct {
	all     *attempts
	arrived atomic.Bool // the handshake is over
}

var errCrowded = errors.New("too many handshakes at once")

func newAttempts(rejected func(net.Addr, error)) *attempts {
	return &attempts{rejected: rejected}
}

// begin is called for each new connection, before its handshake.
func (a *attempts) begin(ctx context.Context, info *quic.ClientInfo) (context.Context, error) {
	if a.running.Add(1) > maxHandshakes {
		a.running.Add(-1)
		return nil, errCrowded
	}
	t := &attempt{all: a}
	a.open.Add(1)
	context.AfterFunc(ctx, func() {
		defer a.open.Done()
		if t.arrive() {
			a.report(info.RemoteAddr, explain(context.Cause(ctx), false))
		}
	})
	return context.WithValue(ctx, attemptKey{}, t), nil
}

// arrive notes that the handshake is over, and reports whether that is new.
func (t *attempt) arrive() bool {
	if t.arrived.Swap(true) {
		return false
	}
	t.all.running.Add(-1)
	return true
}

// crowded reports whether peers must prove their address first.
func (a *attempts) crowded(net.Addr) bool { return a.running.Load() > maxHandshakes/2 }

// report tells the caller of Listen about a peer that got nowhere.
func (a *attempts) report(remote net.Addr, err error) {
	if a.rejected == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if now := time.Now(); now.Sub(a.last) >= reportPause {
		a.last = now
		a.rejected(remote, err)
	}
}

// wait waits until every connection has ended and was looked at.
func (a *attempts) wait() { a.open.Wait() }
