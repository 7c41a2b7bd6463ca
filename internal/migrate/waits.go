package migrate

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// FaultWaits are the waits of the guest for pages, by what answered.
type FaultWaits struct{ Zero, Cache, Remote Waits }

// Waits says how often and how long threads of the guest waited.
type Waits struct {
	Count uint64
	Sum   time.Duration
	// Within counts those that were no longer than each of WaitBounds.
	Within []uint64
}

// WaitBounds returns the bounds of Waits.Within: from what a fault takes that
// needs no network to what a guest is said to hang for.
func WaitBounds() []time.Duration {
	const us, ms, s = time.Microsecond, time.Millisecond, time.Second
	return []time.Duration{
		25 * us, 50 * us, 100 * us, 250 * us, 500 * us, 1 * ms, 2500 * us, 5 * ms, 10 * ms,
		25 * ms, 50 * ms, 100 * ms, 250 * ms, 500 * ms, 1 * s, 5 * s, 30 * s,
	}
}

// waits summarises the faults so far. The histograms are copied first, so that
// who records a fault waits for the copy alone.
func (c *counters) waits() *FaultWaits {
	c.mu.Lock()
	zero, cache, wire := c.faultZero.Export(), c.faultCache.Export(), c.faultWire.Export()
	c.mu.Unlock()
	return &FaultWaits{
		Zero: waitsOf(hdrhistogram.Import(zero)), Cache: waitsOf(hdrhistogram.Import(cache)), Remote: waitsOf(hdrhistogram.Import(wire)),
	}
}

// waitsOf counts a histogram of microseconds, each wait as its bar's upper end
// for the bounds, and as the bar's middle for the sum.
func waitsOf(h *hdrhistogram.Histogram) Waits {
	bounds := WaitBounds()
	w := Waits{Count: uint64(h.TotalCount()), Within: make([]uint64, len(bounds))}
	w.Sum = time.Duration(h.Mean() * float64(h.TotalCount()) * float64(time.Microsecond))
	for _, bar := range h.Distribution() {
		for i := len(bounds) - 1; bar.Count > 0 && i >= 0 && bar.To <= bounds[i].Microseconds(); i-- {
			w.Within[i] += uint64(bar.Count)
		}
	}
	return w
}
