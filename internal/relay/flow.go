package relay

import (
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"time"
)

// flow is one client and its socket towards the server.
type flow struct {
	client netip.AddrPort
	back   *net.UDPConn
	used   atomic.Int64 // when something came over it, in nanoseconds
}

func (f *flow) touch() { f.used.Store(time.Now().UnixNano()) }

func (f *flow) idle(now time.Time) bool { return now.UnixNano()-f.used.Load() > int64(flowIdle) }

// serveClients takes what clients send until the front socket is closed.
func (r *Relay) serveClients() {
	buffer := make([]byte, maxDatagram)
	for {
		n, segment, client, err := receive(r.front, buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // of a client that has gone
		}
		if r.lost() {
			r.up.lose()
			continue
		}
		if f := r.flow(client); f != nil {
			f.touch()
			r.up.push(buffer[:n], datagram{segment: segment, flow: f})
		}
	}
}

// serveServer takes what the server sends to one client until its socket is
// closed.
func (r *Relay) serveServer(f *flow) {
	buffer := make([]byte, maxDatagram)
	for {
		n, segment, _, err := receive(f.back, buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // nobody listens there now
		}
		f.touch()
		if r.lost() {
			r.down.lose()
			continue
		}
		r.down.push(buffer[:n], datagram{segment: segment, client: f.client})
	}
}

// flow returns the flow of a client, a new one if need be, or nil if there are
// too many.
func (r *Relay) flow(client netip.AddrPort) *flow {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f, ok := r.flows[client]; ok || r.closed || len(r.flows) >= maxFlows {
		return f
	}
	back, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(r.cfg.Server))
	if err != nil {
		return nil
	}
	if err := prepare(back, r.cfg.batches()); err != nil {
		back.Close()
		return nil
	}
	f := &flow{client: client, back: back}
	r.flows[client] = f
	r.wait.Go(func() { r.serveServer(f) })
	return f
}

// dropLocked ends a flow.
func (r *Relay) dropLocked(client netip.AddrPort) error {
	f := r.flows[client]
	delete(r.flows, client)
	return f.back.Close()
}

// serveExpiry ends flows that nobody uses any more.
func (r *Relay) serveExpiry() {
	tick := time.NewTicker(flowIdle / 2)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			r.expire(now)
		case <-r.stopped:
			return
		}
	}
}

func (r *Relay) expire(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for client, f := range r.flows {
		if f.idle(now) {
			_ = r.dropLocked(client) // a socket of this process
		}
	}
}
