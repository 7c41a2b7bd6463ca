package migrate

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"
)

// origin says where the content of a page came from.
type origin int

const (
	fromZero origin = iota
	fromDemand
	fromBulk
	fromCache
	origins
)

// Latency histograms cover 1 µs to 10 minutes with two significant digits.
const (
	latencyMin    = 1
	latencyMax    = int64(10 * time.Minute / time.Microsecond)
	latencyDigits = 2
)

// counters is what the destination counts. The installer and the receivers
// write it, progress and the report read it.
type counters struct {
	mu         sync.Mutex // protects all below; a leaf
	pages      [origins]uint64
	discarded  uint64
	poisoned   uint64
	ahead      uint64 // pages of the hot set that were asked for
	raw        uint64 // bytes of page content that came over the wire
	mismatches uint64
	surprises  uint64 // pages that were present although nobody installed them
	reconnects uint64
	faultZero  *hdrhistogram.Histogram
	faultCache *hdrhistogram.Histogram
	faultWire  *hdrhistogram.Histogram
	recipe     *recipeMark
}

// recipeMark is what had been counted when the whole recipe was here.
type recipeMark struct {
	after  time.Duration // since the guest runs here
	faults FaultCounts
}

func newCounters() *counters {
	return &counters{
		faultZero:  hdrhistogram.New(latencyMin, latencyMax, latencyDigits),
		faultCache: hdrhistogram.New(latencyMin, latencyMax, latencyDigits),
		faultWire:  hdrhistogram.New(latencyMin, latencyMax, latencyDigits),
	}
}

func (c *counters) add(o origin, pages uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pages[o] += pages
}

func (c *counters) count(field *uint64, n uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	*field += n
}

// fault records how long a thread of the guest waited for a page.
func (c *counters) fault(h *hdrhistogram.Histogram, waited time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = h.RecordValue(min(max(waited.Microseconds(), latencyMin), latencyMax)) // in range
}

// histogram returns where the waits for pages of an origin are recorded.
func (c *counters) histogram(o origin) *hdrhistogram.Histogram {
	if o == fromCache {
		return c.faultCache
	}
	return c.faultWire
}

// faultCounts counts the faults that were answered so far. The caller holds mu.
func (c *counters) faultCounts() FaultCounts {
	return FaultCounts{
		Zero:   uint64(c.faultZero.TotalCount()),
		Cache:  uint64(c.faultCache.TotalCount()),
		Remote: uint64(c.faultWire.TotalCount()),
	}
}

// markRecipe notes that the whole recipe is here. Only the first time counts.
func (c *counters) markRecipe(after time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.recipe == nil {
		c.recipe = &recipeMark{after: after, faults: c.faultCounts()}
	}
}

// latencies summarises a histogram for the report.
func latencies(h *hdrhistogram.Histogram) Latencies {
	return Latencies{
		Count: uint64(h.TotalCount()),
		P50:   h.ValueAtPercentile(50), P90: h.ValueAtPercentile(90),
		P99: h.ValueAtPercentile(99), P999: h.ValueAtPercentile(99.9), Max: h.Max(),
	}
}

// progress returns the counts so far for a guest of total pages.
func (c *counters) progress(total uint64) Progress {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Progress{
		Total: total, Zero: c.pages[fromZero], Demand: c.pages[fromDemand], Bulk: c.pages[fromBulk], Cache: c.pages[fromCache],
		Discarded: c.discarded, Poisoned: c.poisoned,
		DigestMismatches: c.mismatches, Reconnects: c.reconnects,
		FaultP50: c.faultWire.ValueAtPercentile(50), FaultP99: c.faultWire.ValueAtPercentile(99),
	}
}

// fill writes the counts into a report.
func (c *counters) fill(r *Report) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r.PagesZero, r.PagesDemand, r.PagesBulk = c.pages[fromZero], c.pages[fromDemand], c.pages[fromBulk]
	r.PagesDiscarded, r.PagesPoisoned = c.discarded, c.poisoned
	r.PagesCache, r.PagesAhead = c.pages[fromCache], c.ahead
	r.BytesRaw, r.DigestMismatches, r.Reconnects = c.raw, c.mismatches, c.reconnects
	r.FaultUS = Faults{Zero: latencies(c.faultZero), Cache: latencies(c.faultCache), Remote: latencies(c.faultWire)}
	if m := c.recipe; m != nil {
		now := c.faultCounts()
		r.RecipeMS = m.after.Seconds() * 1e3
		r.FaultsAfterRecipe = &FaultCounts{Zero: now.Zero - m.faults.Zero, Cache: now.Cache - m.faults.Cache, Remote: now.Remote - m.faults.Remote}
	}
}

// cpuSeconds returns the user and kernel time that this process has used.
func cpuSeconds() float64 {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}
