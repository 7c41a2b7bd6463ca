package prefetch

import (
	"slices"
	"time"
)

// Window bounds the pages that the background has asked for and not received,
// so that a link and the hosts at its ends stay quick for the pages that
// somebody waits for. It is driven by the delay that these see, after LEDBAT
// (RFC 6817):
//
//	base       the quickest demand answer of the last ten to twenty seconds
//	queueing   the quickest of the last few, less base
//	target     Target, or a quarter of base where that is more
//
//	an answer of the background   until there was a delay, the limit grows by
//	                              what has come; then by (target - queueing) /
//	                              target of a chunk for each limit full of pages
//	queueing above the target     the limit is halved, at most once in the time
//	                              that an answer takes
//
// The limit stays between one chunk, so that a busy guest never stops the
// background, and the most that was configured.
type Window struct {
	// Chunk is what the background asks for at a time, in pages: the least
	// that the limit can be. Most is the most, in pages.
	Chunk, Most uint64
	// Target is how much longer than the quickest demand answer one may take on
	// a short path.
	Target time.Duration

	limit    uint64
	inFlight uint64
	slow     bool // there was a delay: the limit is about right
	part     float64

	base, next time.Duration // the quickest answer since the last epoch, and of this one
	epoch      time.Time
	samples    [windowSamples]time.Duration
	count      int
	sampled    time.Time
	queueing   time.Duration
	cut        time.Time
}

const (
	// windowSamples is over how many demand answers the quickest counts: one that
	// was late because a processor was busy is no sign of a queue.
	windowSamples = 4
	// windowEpoch is how long the quickest answer counts, at least.
	windowEpoch = 10 * time.Second
	// windowMemory is how long a delay counts when nobody waits for pages.
	windowMemory = 200 * time.Millisecond
	// windowShare is the part of base, 1/n, that the target is at least.
	windowShare = 4
)

// Limit returns how many pages may be in flight now.
func (w *Window) Limit() uint64 { return max(w.limit, w.Chunk) }

// Room returns how many more pages may be asked for.
func (w *Window) Room() uint64 { return w.Limit() - min(w.Limit(), w.inFlight) }

// Add counts n pages as asked for.
func (w *Window) Add(n uint64) { w.inFlight += n }

// Done counts n pages as answered at now.
func (w *Window) Done(now time.Time, n uint64) {
	w.inFlight -= min(n, w.inFlight)
	if now.Sub(w.sampled) > max(windowMemory, windowSamples*w.base) {
		w.queueing = 0
	}
	if !w.slow {
		w.limit = min(w.Most, w.Limit()+n)
		return
	}
	target := w.target()
	off := max(0, float64(target-w.queueing)/float64(target))
	w.part += off * float64(n*w.Chunk) / float64(w.Limit())
	whole := uint64(w.part)
	w.part -= float64(whole)
	w.limit = min(w.Most, w.Limit()+whole)
}

func (w *Window) target() time.Duration { return max(w.Target, w.base/windowShare) }

// Demand learns at now that a page was waited for.
func (w *Window) Demand(now time.Time, waited time.Duration) {
	w.learn(now, waited)
	w.samples[w.count%windowSamples] = waited
	w.count++
	w.sampled = now
	if w.count < windowSamples {
		return
	}
	w.queueing = max(0, slices.Min(w.samples[:])-w.base)
	if w.queueing > w.target() && now.Sub(w.cut) > waited {
		w.limit, w.cut, w.slow = w.Limit()/2, now, true
	}
}

// learn keeps the quickest answer of two epochs.
func (w *Window) learn(now time.Time, waited time.Duration) {
	if w.epoch.IsZero() {
		w.epoch, w.base, w.next = now, waited, waited
	}
	if now.Sub(w.epoch) > windowEpoch {
		w.epoch, w.base, w.next = now, w.next, waited
	}
	w.next, w.base = min(w.next, waited), min(w.base, waited)
}

// Reset begins anew, with one chunk and without a quickest answer, after the
// link was replaced.
func (w *Window) Reset() {
	*w = Window{Chunk: w.Chunk, Most: w.Most, Target: w.Target}
}
