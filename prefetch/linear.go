package prefetch

import "github.com/lazymig/lazymig"

// Missing returns the first run of pages at or behind from that are neither
// there nor asked for, and false when there is none up to the guest's end.
type Missing func(from lazymig.PageNumber) (lazymig.Run, bool)

// Linear walks the guest from its first page to its last and starts again at
// the front when pages were left behind. The zero value starts at page 0.
type Linear struct {
	cursor lazymig.PageNumber
}

// Next returns the next run of at most limit missing pages and moves behind
// it, or false when nothing is missing. limit is at least 1.
func (l *Linear) Next(limit uint64, missing Missing) (lazymig.Run, bool) {
	run, ok := missing(l.cursor)
	if !ok && l.cursor > 0 {
		l.cursor = 0
		run, ok = missing(0)
	}
	if !ok {
		return lazymig.Run{}, false
	}
	run.Count = min(run.Count, limit)
	l.cursor = run.End()
	return run, true
}
