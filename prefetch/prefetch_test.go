package prefetch

import (
	"testing"
	"time"

	"github.com/lazymig/lazymig"
)

// gaps returns a Missing over a set of the first 64 pages.
func gaps(pages map[lazymig.PageNumber]bool) Missing {
	const end = 64
	return func(from lazymig.PageNumber) (lazymig.Run, bool) {
		for p := from; p < end; p++ {
			if !pages[p] {
				continue
			}
			run := lazymig.Run{First: p}
			for ; p < end && pages[p]; p++ {
				run.Count++
			}
			return run, true
		}
		return lazymig.Run{}, false
	}
}

func TestLinearVisitsEachPageOnce(t *testing.T) {
	missing := map[lazymig.PageNumber]bool{}
	for _, p := range []lazymig.PageNumber{0, 1, 2, 3, 4, 9, 10, 63} {
		missing[p] = true
	}
	var l Linear
	var got []lazymig.Run
	for {
		run, ok := l.Next(3, gaps(missing))
		if !ok {
			break
		}
		if run.Count == 0 || run.Count > 3 {
			t.Fatalf("run %+v", run)
		}
		for p := run.First; p < run.End(); p++ {
			if !missing[p] {
				t.Fatalf("page %d asked for twice or never missing", p)
			}
			delete(missing, p)
		}
		got = append(got, run)
	}
	if len(missing) != 0 {
		t.Errorf("left behind: %v; runs %v", missing, got)
	}
}

func TestLinearComesBack(t *testing.T) {
	missing := map[lazymig.PageNumber]bool{2: true, 60: true}
	var l Linear
	l.Next(64, gaps(missing))
	delete(missing, 2)
	l.Next(64, gaps(missing))
	delete(missing, 60)
	missing[5] = true // its answer was lost with the link
	run, ok := l.Next(64, gaps(missing))
	if !ok || run.First != 5 {
		t.Errorf("got %+v %v, want page 5", run, ok)
	}
}

func TestWindowBounds(t *testing.T) {
	w := Window{Chunk: 10, Most: 40, Target: time.Millisecond}
	if w.Room() != 10 {
		t.Errorf("room %d at the start, want one chunk", w.Room())
	}
	w.Add(8)
	if w.Room() != 2 {
		t.Errorf("room %d", w.Room())
	}
	w.Add(8)
	if w.Room() != 0 {
		t.Errorf("room %d over the limit", w.Room())
	}
	w.Done(100)
	for range 100 {
		w.Add(10)
		w.Done(10)
	}
	if w.Room() != 40 {
		t.Errorf("room %d after a hundred answers, want the most", w.Room())
	}
	w.Reset()
	if w.Room() != 10 {
		t.Errorf("room %d after a reset, want one chunk", w.Room())
	}
}

// TestWindowFollowsDelay checks that slow demand answers shrink the window, at
// most once in the time that one takes, never below a chunk, and that it grows
// again.
func TestWindowFollowsDelay(t *testing.T) {
	w := Window{Chunk: 10, Most: 640, Target: time.Millisecond}
	for w.Limit() < 640 {
		w.Done(10)
	}
	now := time.Unix(0, 0)
	w.Demand(now, 200*time.Microsecond)
	w.Demand(now, 1100*time.Microsecond)
	if w.Limit() != 640 {
		t.Errorf("limit %d after answers within the target", w.Limit())
	}
	w.Demand(now, 3*time.Millisecond)
	w.Demand(now.Add(time.Millisecond), 3*time.Millisecond)
	if w.Limit() != 320 {
		t.Errorf("limit %d after one congested round trip, want half", w.Limit())
	}
	for range 20 {
		now = now.Add(10 * time.Millisecond)
		w.Demand(now, 5*time.Millisecond)
	}
	if w.Limit() != 10 {
		t.Errorf("limit %d under lasting delay, want one chunk", w.Limit())
	}
	for range 64 {
		w.Done(10)
	}
	if w.Limit() <= 10 || w.Limit() > 640 {
		t.Errorf("limit %d: it does not grow again", w.Limit())
	}
}

func TestPacerHoldsTheRate(t *testing.T) {
	p := Pacer{Rate: 1 << 20}
	now := time.Unix(0, 0)
	start := now
	for range 64 {
		now = now.Add(p.Wait(now, 64<<10))
	}
	took := now.Sub(start).Seconds()
	if took < 3.8 || took > 4.1 {
		t.Errorf("4 MiB at 1 MiB/s took %.2f s", took)
	}
	if (&Pacer{}).Wait(now, 1<<30) != 0 {
		t.Error("a pacer without a rate waits")
	}
}
