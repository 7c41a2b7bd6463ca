package paths

import (
	"fmt"

	"github.com/lazymig/lazymig/bench/faults"
)

// Kind is what is measured.
type Kind string

// The kinds, in the order of the tables.
const (
	// Floor is a handler that copies a page of its own; no link.
	Floor Kind = "floor"
	// RoundTrip asks for 4 KiB over one plain quic-go stream, again and again.
	RoundTrip Kind = "round-trip"
	// OnDemand is lazymig without its background, threads that touch pages.
	OnDemand Kind = "lazymig-on-demand"
	// Beside is lazymig with its background, threads that touch pages.
	Beside Kind = "lazymig-beside-background"
	// Drain is lazymig's background alone.
	Drain Kind = "lazymig-drain"
	// Sweep reads all of a memory at random while lazymig's background runs.
	Sweep Kind = "lazymig-sweep"
	// Serial reads at random what the handler of userfaultfd-go brings.
	Serial Kind = "serial-quic"
	// RawQUIC is one plain quic-go connection.
	RawQUIC Kind = "quic-bulk"
	// Reno is as many TCP flows as the drain over the same link had connections.
	Reno Kind = "tcp-reno"
)

// Memory is what is in the pages.
type Memory string

// Kinds of memory.
const (
	// Noise cannot be compressed, and no two pages are alike.
	Noise Memory = "noise"
	// Ordinary pages are one quarter noise and three quarters zeros.
	Ordinary Memory = "ordinary"
)

// Link is the way between the hosts.
type Link struct {
	RateBits uint64  `json:"rate_bits"`
	RTTMS    float64 `json:"rtt_ms"`
	// Loss is the share of packets that is lost in each direction.
	Loss float64 `json:"loss"`
}

// Case is one thing to measure.
type Case struct {
	Kind    Kind        `json:"kind"`
	Link    Link        `json:"link"`
	Threads int         `json:"threads"`
	Load    faults.Load `json:"load"`
	Memory  Memory      `json:"memory"`
}

// The links. Without a delay there is no relay, only the rate.
var (
	lan    = Link{RateBits: 1e9}
	near   = Link{RateBits: 1e9, RTTMS: 1}
	far    = Link{RateBits: 1e9, RTTMS: 25}
	slow25 = Link{RateBits: 100e6, RTTMS: 25}
	slow99 = Link{RateBits: 100e6, RTTMS: 100}
	lossy  = Link{RateBits: 1e9, RTTMS: 25, Loss: 0.01}
)

// on returns a case with noise on idle cores.
func on(link Link, kind Kind, threads int) Case {
	return Case{Kind: kind, Link: link, Threads: threads, Load: faults.Idle, Memory: Noise}
}

func (c Case) busy() Case {
	c.Load = faults.Busy
	return c
}

func (c Case) ordinary() Case {
	c.Memory = Ordinary
	return c
}

// Plan lists the cases of one round, those of a link together: laying a link
// takes a second. What is compared stands close together.
func Plan(short bool) []Case {
	cases := []Case{
		on(lan, Floor, 1), on(lan, RoundTrip, 1), on(lan, OnDemand, 1), on(lan, Beside, 1),
		on(lan, Drain, 1), on(lan, RawQUIC, 1), on(lan, Beside, 4), on(lan, OnDemand, 16),
		on(lan, Floor, 1).busy(), on(lan, RoundTrip, 1).busy(), on(lan, OnDemand, 1).busy(),
	}
	if !short {
		cases = append(cases, on(lan, Drain, 1).ordinary())
	}
	cases = append(cases,
		on(near, RoundTrip, 1), on(near, OnDemand, 1), on(near, OnDemand, 16),
		on(far, Sweep, 1), on(far, Serial, 1),
	)
	if !short {
		cases = append(cases, on(slow25, Drain, 1), on(slow25, RawQUIC, 1), on(slow99, Drain, 1), on(lossy, Drain, 1), on(lossy, Reno, 1))
	}
	return cases
}

// pages returns how much memory a case has.
func (s scale) pages(c Case) int {
	switch {
	case c.Kind == Beside:
		return s.busy
	case c.Kind == Sweep || c.Kind == Serial:
		return s.sweep
	case (c.Kind == Drain || c.Kind == RawQUIC) && (c.Link.RateBits < lan.RateBits || c.Link.Loss > 0):
		return s.slow
	case c.Kind == Drain || c.Kind == RawQUIC:
		return s.drain
	default:
		return s.fault
	}
}

// String names the case for people.
func (c Case) String() string {
	text := fmt.Sprintf("%s, %s", c.Kind, c.Link)
	switch c.Kind {
	case Floor, OnDemand, Beside, Sweep:
		if c.Threads != 1 {
			text += fmt.Sprintf(", %d threads", c.Threads)
		}
	default:
	}
	if c.Load == faults.Busy {
		text += ", busy cores"
	}
	if c.Memory != Noise {
		text += ", ordinary memory"
	}
	return text
}

// String names the link for people.
func (l Link) String() string {
	text := fmt.Sprintf("%g Mbit/s, %g ms", float64(l.RateBits)/1e6, l.RTTMS)
	if l.RateBits >= 1e9 {
		text = fmt.Sprintf("%g Gbit/s, %g ms", float64(l.RateBits)/1e9, l.RTTMS)
	}
	if l.Loss > 0 {
		text += fmt.Sprintf(", %g %% loss", 100*l.Loss)
	}
	return text
}
