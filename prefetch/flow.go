package prefetch

import (
	"slices"
	"time"
)

const (
	// flowSamples is how many of the newest samples of the rate count, of which each
	// takes a round trip, and at least flowTime.
	flowSamples = 4
	flowTime    = 10 * time.Millisecond
	// flowGain is how many round trips of the rate may be under way: with less, a rate
	// that losses have made smaller would not recover, since connections grow only
	// while they are full.
	flowGain = 4
)

// flow estimates how many pages a path holds, by the rate at which they come.
type flow struct {
	began   time.Time
	pages   uint64
	samples [flowSamples]float64 // pages per second
	count   int
	peak    float64 // the best of all
}

// known reports whether there is a rate.
func (f *flow) known() bool { return f.count > 0 }

// rate returns the pages per second of the best of the newest samples.
func (f *flow) rate() float64 { return slices.Max(f.samples[:]) }

// holds returns how many pages are under way on a path of that round trip, and on
// the link behind it for slack.
func (f *flow) holds(rtt, slack time.Duration) uint64 {
	return uint64(f.rate() * (flowGain*rtt + slack).Seconds())
}

// add counts n pages that have come at now.
func (f *flow) add(now time.Time, n uint64, rtt time.Duration) {
	if f.began.IsZero() {
		f.began = now
		return
	}
	f.pages += n
	took := now.Sub(f.began)
	if took < max(rtt, flowTime) {
		return
	}
	rate := float64(f.pages) / took.Seconds()
	f.samples[f.count%flowSamples], f.peak = rate, max(f.peak, rate)
	f.count++
	f.began, f.pages = now, 0
}
