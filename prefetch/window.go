package prefetch

// Window bounds the pages that the background has asked for and not received.
type Window struct {
	limit    uint64
	inFlight uint64
}

// NewWindow returns an empty window of limit pages.
func NewWindow(limit uint64) Window { return Window{limit: limit} }

// Room returns how many more pages may be asked for.
func (w *Window) Room() uint64 { return w.limit - min(w.limit, w.inFlight) }

// Add counts n pages as asked for.
func (w *Window) Add(n uint64) { w.inFlight += n }

// Done counts n pages as answered.
func (w *Window) Done(n uint64) { w.inFlight -= min(n, w.inFlight) }

// Reset forgets all that is in flight, after the link was replaced.
func (w *Window) Reset() { w.inFlight = 0 }
