package prefetch

import "time"

// Window bounds the pages that the background has asked for and not received,
// so that a link and the hosts at its ends stay quick for the pages that
// somebody waits for. It is driven by the delay that these see, in the manner
// of LEDBAT (RFC 6817), with the multiplicative decrease of TCP:
//
//	an answer of the background   the limit grows by one chunk for each limit
//	                              full of pages
//	a demand answer that took     the limit is halved, at most once in the time
//	longer than base + target     that the answer took
//
// The limit stays between one chunk, so that a busy guest never stops the
// background, and the most that was configured.
type Window struct {
	// Chunk is what the background asks for at a time, in pages: the least
	// that the limit can be. Most is the most, in pages.
	Chunk, Most uint64
	// Target is how much longer than the quickest demand answer one may take.
	Target time.Duration

	limit    uint64
	inFlight uint64
	base     time.Duration
	cut      time.Time
}

// Limit returns how many pages may be in flight now.
func (w *Window) Limit() uint64 { return max(w.limit, w.Chunk) }

// Room returns how many more pages may be asked for.
func (w *Window) Room() uint64 { return w.Limit() - min(w.Limit(), w.inFlight) }

// Add counts n pages as asked for.
func (w *Window) Add(n uint64) { w.inFlight += n }

// Done counts n pages as answered.
func (w *Window) Done(n uint64) {
	w.inFlight -= min(n, w.inFlight)
	w.limit = min(w.Most, w.Limit()+max(1, n*w.Chunk/w.Limit()))
}

// Demand learns at now that a page was waited for.
func (w *Window) Demand(now time.Time, waited time.Duration) {
	if w.base == 0 || waited < w.base {
		w.base = waited
	}
	if waited > w.base+w.Target && now.Sub(w.cut) > waited {
		w.limit, w.cut = w.Limit()/2, now
	}
}

// Reset begins anew, with one chunk and without a quickest answer, after the
// link was replaced.
func (w *Window) Reset() { w.inFlight, w.limit, w.base = 0, 0, 0 }
