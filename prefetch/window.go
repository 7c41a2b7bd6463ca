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
//	base       the quickest demand answer of the last ten to twenty seconds; at first no
//	           more than a round trip of the path and some service
//	queueing   the quickest of the last few, less base
//	target     Target, or a quarter of base where that is more
//
//	an answer of the background   until there was a delay, the limit grows by
//	                              what has come; then by (target - queueing) /
//	                              target of a request for each limit full of pages, no
//	                              sooner than an answer on demand says that it may
//	queueing above the target     the limit is halved, at most once in the time
//	                              that an answer takes
//
// What the path holds bounds it too, so that what was asked for before anybody
// waited is no queue of seconds on a slow link: the rate at which answers have come
// lately, times some round trips, and Slack on top: the bandwidth-delay product, as BBR
// measures it (Cardwell et al., ACM Queue 2016).
//
// The limit never falls below what comes in windowFloor, so that a busy guest does not
// stop the background, and never exceeds the most that was configured.
type Window struct {
	// Chunk is what the background asks for at a time, at most, in pages, and where
	// the limit begins. Most is the most that the limit can be.
	Chunk, Most uint64
	// RTT is the round trip of the path, and Slack how long the link may go on with
	// what was asked for beyond that. Without a Slack the path bounds nothing.
	RTT, Slack time.Duration
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
	flow       flow
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
	// windowService is how long the hosts take for a demand answer, at most, when
	// they have nothing else to do.
	windowService = 200 * time.Microsecond
	// windowFloor is the time whose answers may always be under way.
	windowFloor = time.Millisecond / 2
	// windowParts is into how many requests a full window goes, at least, and
	// leastChunk the least that one of them asks for, in pages.
	windowParts = 8
	leastChunk  = 8
)

// Limit returns how many pages may be in flight now.
func (w *Window) Limit() uint64 {
	limit := max(w.limit, w.floor())
	if w.Slack > 0 && w.flow.known() {
		limit = min(limit, w.flow.holds(w.RTT, w.Slack)+w.floor())
	}
	return limit
}

// floor returns how many pages may always be in flight.
func (w *Window) floor() uint64 {
	if w.Slack == 0 || !w.flow.known() {
		return w.Chunk
	}
	return min(max(uint64(w.flow.peak*windowFloor.Seconds()), 2*leastChunk), w.Chunk)
}

// Request returns how many pages the background asks for at a time: fewer on a slow
// path, so that what somebody waits for gets in between.
func (w *Window) Request() uint64 {
	return min(max(w.Limit()/windowParts, leastChunk), w.Chunk)
}

// Room returns how many more pages may be asked for.
func (w *Window) Room() uint64 { return w.Limit() - min(w.Limit(), w.inFlight) }

// Add counts n pages as asked for.
func (w *Window) Add(n uint64) { w.inFlight += n }

// Done counts n pages as answered at now.
func (w *Window) Done(now time.Time, n uint64) {
	w.inFlight -= min(n, w.inFlight)
	w.flow.add(now, n, w.RTT)
	if !w.slow {
		w.limit = min(w.Most, w.Limit()+n)
		return
	}
	isOld := now.Sub(w.sampled) > max(windowMemory, windowSamples*w.base)
	if isOld {
		w.queueing = 0
	}
	target := w.target()
	off := max(0, float64(target-w.queueing)/float64(target))
	w.part = min(w.part+off*float64(n*w.Request())/float64(w.Limit()), float64(w.Request()))
	if isOld {
		w.grow()
	}
}

// grow widens the limit by what was earned since the last time.
func (w *Window) grow() {
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
		w.limit, w.cut, w.slow, w.part = w.Limit()/2, now, true, 0
	}
	w.grow()
}

// learn keeps the quickest answer of two epochs.
func (w *Window) learn(now time.Time, waited time.Duration) {
	if w.epoch.IsZero() {
		// The first answers may have waited behind the background.
		w.epoch, w.base, w.next = now, min(waited, w.RTT+windowService), waited
	}
	if now.Sub(w.epoch) > windowEpoch {
		w.epoch, w.base, w.next = now, w.next, waited
	}
	w.next, w.base = min(w.next, waited), min(w.base, waited)
}

// Reset begins anew, with one chunk and without a quickest answer, after the
// link was replaced by one whose round trip is rtt.
func (w *Window) Reset(rtt time.Duration) {
	*w = Window{Chunk: w.Chunk, Most: w.Most, Target: w.Target, Slack: w.Slack, RTT: rtt}
}
