package relay

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"
)

// ErrConfig is returned by Start for a path that cannot be made.
var ErrConfig = errors.New("invalid path")

// Config describes a path. Rate, delay and loss hold for each direction.
type Config struct {
	// Server is where the datagrams go to, an address of this machine.
	Server netip.AddrPort
	// Rate is in bytes of UDP payload per second, at least MinRate. 0: no
	// bound.
	Rate uint64
	// Delay is that of one direction, at most MaxDelay.
	Delay time.Duration
	// Loss is the part of the datagrams that is lost, from 0 to less than 1.
	Loss float64
}

func (c Config) validate() error {
	switch {
	case !c.Server.IsValid() || !c.Server.Addr().Unmap().IsLoopback() || c.Server.Port() == 0:
		return fmt.Errorf("%w: server %v is no address of this machine alone", ErrConfig, c.Server)
	case c.Rate != 0 && c.Rate < MinRate:
		return fmt.Errorf("%w: rate of %d bytes per second, at least %d", ErrConfig, c.Rate, MinRate)
	case c.Delay < 0 || c.Delay > MaxDelay:
		return fmt.Errorf("%w: delay of %v, at most %v", ErrConfig, c.Delay, MaxDelay)
	case !(c.Loss >= 0 && c.Loss < 1): // not a number, too
		return fmt.Errorf("%w: loss of %v, from 0 to less than 1", ErrConfig, c.Loss)
	}
	return nil
}

// Stats counts the datagrams of one direction.
type Stats struct {
	// Passed have come out at the other end, with Bytes of payload.
	Passed, Bytes uint64
	// Dropped found a full queue, Lost were lost on purpose, Cut met a link
	// that was cut.
	Dropped, Lost, Cut uint64
}

// Relay is a running path.
type Relay struct {
	cfg      Config
	front    *net.UDPConn
	up, down *lane
	wait     sync.WaitGroup
	stopped  chan struct{} // closed by Close
	timers   [2]*sleeper

	mu      sync.Mutex // protects all below
	flows   map[netip.AddrPort]*flow
	closed  bool
	restore *time.Timer   // of the last Break
	whole   chan struct{} // closed when that break is over
}

// Start opens a path at a free port of 127.0.0.1. Close ends it.
func Start(cfg Config) (*Relay, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	r := &Relay{cfg: cfg, stopped: make(chan struct{}), flows: map[netip.AddrPort]*flow{}}
	front, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, fmt.Errorf("open the path's socket: %w", err)
	}
	r.front = front
	for i := range r.timers {
		if r.timers[i], err = newSleeper(); err != nil {
			return nil, errors.Join(err, r.Close())
		}
	}
	s := shape{rate: cfg.Rate, delay: cfg.Delay}
	r.up = newLane(s, func(d datagram) { sendOn(d.flow.back, d, netip.AddrPort{}) }, r.timers[0].sleep)
	r.down = newLane(s, func(d datagram) { sendOn(r.front, d, d.client) }, r.timers[1].sleep)
	if err := prepare(front, r.cfg.batches()); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	r.wait.Go(r.up.serve)
	r.wait.Go(r.down.serve)
	r.wait.Go(r.serveClients)
	r.wait.Go(r.serveExpiry)
	return r, nil
}

// Addr is where clients find the server.
func (r *Relay) Addr() netip.AddrPort { return r.front.LocalAddr().(*net.UDPAddr).AddrPort() }

// Stats returns the counts from clients to the server, and back.
func (r *Relay) Stats() (up, down Stats) { return r.up.count(), r.down.count() }

// batches reports whether several datagrams may pass as one: not where the
// link is slow, or where each may be lost by itself.
func (c Config) batches() bool {
	return c.Loss == 0 && (c.Rate == 0 || batchSize*uint64(time.Second)/c.Rate <= uint64(batchTime))
}

// Cut loses everything in both directions from now on, also what is on the
// way.
func (r *Relay) Cut() { r.set(true, nil, nil) }

// Restore ends a cut.
func (r *Relay) Restore() { r.set(false, nil, nil) }

// Break cuts the path for d. The channel is closed when it is whole again, by
// then or by Cut, Restore, Break or Close, which end this break's say.
func (r *Relay) Break(d time.Duration) <-chan struct{} {
	whole := make(chan struct{})
	r.set(true, whole, func() *time.Timer {
		return time.AfterFunc(d, func() { r.heal(whole) })
	})
	return whole
}

// set cuts or restores. It ends the last break, and begins one if after is set.
func (r *Relay) set(cut bool, whole chan struct{}, after func() *time.Timer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.endBreakLocked()
	r.cutLanes(cut)
	if after != nil && !r.closed {
		r.whole, r.restore = whole, after()
	} else if whole != nil {
		close(whole)
	}
}

// heal ends the break that whole belongs to, if it is still the last word.
func (r *Relay) heal(whole chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.whole != whole {
		return
	}
	r.cutLanes(false)
	r.endBreakLocked()
}

func (r *Relay) endBreakLocked() {
	if r.whole == nil {
		return
	}
	r.restore.Stop()
	close(r.whole)
	r.whole, r.restore = nil, nil
}

func (r *Relay) cutLanes(cut bool) {
	r.up.setCut(cut)
	r.down.setCut(cut)
}

// lost decides the fate of one datagram.
func (r *Relay) lost() bool { return r.cfg.Loss > 0 && rand.Float64() < r.cfg.Loss }

// Close ends the path. What is on the way is lost.
func (r *Relay) Close() error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil
	}
	r.closed = true
	r.endBreakLocked()
	errs := []error{r.front.Close()}
	for client := range r.flows {
		errs = append(errs, r.dropLocked(client))
	}
	r.mu.Unlock()
	close(r.stopped)
	for _, l := range []*lane{r.up, r.down} {
		if l != nil {
			l.close()
		}
	}
	for _, t := range r.timers {
		if t != nil {
			errs = append(errs, t.close())
		}
	}
	r.wait.Wait()
	return errors.Join(errs...)
}
