package prefetch

import "time"

// pacerBurst is how far ahead of its rate a Pacer lets the background run: one
// scheduling hiccup of a busy host, little against a switch's queue.
const pacerBurst = 10 * time.Millisecond

// Pacer keeps the background under a rate. The zero value has no limit.
type Pacer struct {
	// Rate is in bytes per second; 0 means no limit.
	Rate uint64
	// due is when all that was sent so far is paid for.
	due time.Time
}

// Wait counts n bytes as sent at now and returns for how long the sender must
// pause before it sends them.
func (p *Pacer) Wait(now time.Time, n int) time.Duration {
	if p.Rate == 0 {
		return 0
	}
	if floor := now.Add(-pacerBurst); p.due.Before(floor) {
		p.due = floor
	}
	pause := max(0, p.due.Sub(now))
	p.due = p.due.Add(time.Duration(float64(n) / float64(p.Rate) * float64(time.Second)))
	return pause
}
