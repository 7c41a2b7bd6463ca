package prefetch

import "github.com/lazymig/lazymig"

// maxPivots is how many bubbles there are at a time, as in Hines and Gopalan's
// evaluation.
const maxPivots = 7

// Table tells what is still to be asked for.
type Table interface {
	// IsMissing reports whether page p, of any number, is still to be asked for.
	IsMissing(p lazymig.PageNumber) bool
	// Missing returns the first run of pages at or behind from that are neither
	// there nor asked for, and false if there is none up to the guest's end.
	Missing(from lazymig.PageNumber) (lazymig.Run, bool)
	// MissingBefore returns the last such run that ends before to, and false if
	// there is none down to the first page.
	MissingBefore(to lazymig.PageNumber) (lazymig.Run, bool)
}

// Bubbles grow around the pages that the guest has touched last, to both sides:
// post-copy's multi-pivot bubbling (Hines & Gopalan, VEE 2009). A new one
// replaces the oldest. An edge of one steps over what is there already.
type Bubbles struct {
	// Reach bounds an edge's distance from its pivot, in pages; 0: no bound.
	Reach uint64

	pivots []pivot // the newest last
	turn   int
}

// pivot is one bubble: the pages from left up to right-1 have been walked over.
type pivot struct {
	at, left, right lazymig.PageNumber
	leftwards       bool // whose turn it is
	done            [2]bool
}

// Fault begins a bubble at p, unless p is within one.
func (b *Bubbles) Fault(p lazymig.PageNumber) {
	for i := range b.pivots {
		if v := &b.pivots[i]; p >= v.left && p < v.right {
			return
		}
	}
	if len(b.pivots) == maxPivots {
		b.pivots = append(b.pivots[:0], b.pivots[1:]...)
	}
	b.pivots = append(b.pivots, pivot{at: p, left: p, right: p + 1})
	b.turn = 0
}

// Next returns the next run of at most limit pages next to a bubble, or false
// when all bubbles have come to their ends. The bubbles take turns, the newest
// first, and each grows to the right and to the left in turn.
func (b *Bubbles) Next(limit uint64, t Table) (lazymig.Run, bool) {
	for len(b.pivots) > 0 {
		i := len(b.pivots) - 1 - b.turn%len(b.pivots)
		b.turn++
		v := &b.pivots[i]
		if run, ok := v.next(limit, b.Reach, t); ok {
			return run, true
		}
		if v.done == [2]bool{true, true} {
			b.pivots = append(b.pivots[:i], b.pivots[i+1:]...)
			b.turn = 0
		}
	}
	return lazymig.Run{}, false
}

// next lets the edge grow whose turn it is.
func (v *pivot) next(limit, reach uint64, t Table) (lazymig.Run, bool) {
	v.leftwards = !v.leftwards
	if v.leftwards {
		return v.grow(&v.done[1], reach, func() (lazymig.Run, bool) {
			run, ok := t.Missing(v.right)
			run.Count = min(run.Count, limit)
			if ok {
				v.right = run.End()
			}
			return run, ok
		})
	}
	return v.grow(&v.done[0], reach, func() (lazymig.Run, bool) {
		run, ok := t.MissingBefore(v.left)
		if ok {
			if run.Count > limit {
				run.First += lazymig.PageNumber(run.Count - limit)
				run.Count = limit
			}
			v.left = run.First
		}
		return run, ok
	})
}

// grow takes the next run of an edge, or notes that the edge has come to its end.
func (v *pivot) grow(done *bool, reach uint64, take func() (lazymig.Run, bool)) (lazymig.Run, bool) {
	if *done {
		return lazymig.Run{}, false
	}
	run, ok := take()
	if ok && reach > 0 && distance(run.First, v.at) > reach {
		ok = false
	}
	*done = !ok
	return run, ok
}

func distance(a, b lazymig.PageNumber) uint64 {
	if a > b {
		return uint64(a - b)
	}
	return uint64(b - a)
}
