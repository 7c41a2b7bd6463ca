package link

import (
	"context"
	"fmt"
	"time"
)

// Path is how far host B is from the switch, beside the rate of the cables.
// Host A and the client are near it. UDP and TCP are treated alike: packets
// as small as the cable takes them are delayed and lost, and never overtake
// each other.
type Path struct {
	// RTT is what the path adds to a round trip, one half in each direction.
	RTT time.Duration
	// Jitter is added to each packet at random, between nothing and all of it.
	// What it would let overtake waits for the packet before.
	Jitter time.Duration
	// Loss is the share of packets that is lost in each direction, from 0 to 1,
	// each packet by itself. ARP is never lost: one lost answer would take a
	// second, and says nothing of a path.
	Loss float64
	// Seed makes the losses and the jitter, the same for the same packets.
	Seed uint64
}

// PathStats counts what a path did to packets, in both directions.
type PathStats struct {
	Passed, Lost uint64
	// Dropped had no room: see maxFrames.
	Dropped uint64
	// Late is the longest time that a packet waited longer than it should have.
	Late time.Duration
	// LateMean is the mean of it.
	LateMean time.Duration
}

// SetPath changes the way to host B; the zero Path is a plain cable again. The
// cable is laid anew: what is on it is lost. It needs no netem: a relay in
// this process takes the packets from one tap and writes them to another.
func (l *Link) SetPath(ctx context.Context, path Path) error {
	if path.Loss < 0 || path.Loss > 1 || path.RTT < 0 || path.Jitter < 0 || path.RTT/2+path.Jitter > maxDelay {
		return fmt.Errorf("set the path to host B: %+v is out of bounds", path)
	}
	if path == l.path {
		return nil
	}
	if err := l.lay(ctx, path); err != nil {
		return fmt.Errorf("set the path to host B: %w", err)
	}
	if err := l.probe(ctx); err != nil {
		return fmt.Errorf("set the path to host B: %w", err)
	}
	if l.relay != nil {
		l.relay.begin()
	}
	return l.SetRate(ctx, l.rate)
}

// lay replaces the cable of host B.
func (l *Link) lay(ctx context.Context, path Path) error {
	if l.relay != nil {
		if err := l.relay.close(); err != nil { // its taps go with it
			return err
		}
		l.relay = nil
	} else if err := l.batch(ctx, HostB, "link del "+Uplink); err != nil {
		return err
	}
	l.path = path
	if path == (Path{Seed: path.Seed}) {
		return l.cable(ctx, HostB)
	}
	var err error
	if l.relay, err = l.newRelay(path); err != nil {
		return err
	}
	queue := fmt.Sprintf(" txqueuelen %d", tapQueue)
	if err := l.batch(ctx, HostB, "link set "+Uplink+queue, "link set "+Uplink+" master br0 up"); err != nil {
		return err
	}
	return l.batch(ctx, Client, "link set "+port(HostB)+queue, "link set "+port(HostB)+" master br0 up")
}

// PathStats returns what the path has done since SetPath.
func (l *Link) PathStats() PathStats {
	if l.relay == nil {
		return PathStats{}
	}
	return l.relay.stats()
}
