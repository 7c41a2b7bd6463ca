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
	now := time.Unix(0, 0)
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
	w.Done(now, 100)
	for range 100 {
		w.Add(10)
		w.Done(now, 10)
	}
	if w.Room() != 40 {
		t.Errorf("room %d after a hundred answers, want the most", w.Room())
	}
	w.Reset(0)
	if w.Room() != 10 {
		t.Errorf("room %d after a reset, want one chunk", w.Room())
	}
}

// demands has so many pages waited for equally long, a millisecond apart.
func demands(w *Window, now *time.Time, n int, waited time.Duration) {
	for range n {
		*now = now.Add(time.Millisecond)
		w.Demand(*now, waited)
	}
}

// TestWindowFollowsDelay checks that slow demand answers shrink the window, at
// most once in the time that one takes, never below a chunk, and that it grows
// again, the slower the nearer the delay is to the target.
func TestWindowFollowsDelay(t *testing.T) {
	w := Window{Chunk: 10, Most: 640, Target: time.Millisecond}
	now := time.Unix(0, 0)
	for w.Limit() < 640 {
		w.Done(now, 10)
	}
	demands(&w, &now, 10, 200*time.Microsecond)
	demands(&w, &now, 10, 1100*time.Microsecond)
	if w.Limit() != 640 {
		t.Errorf("limit %d after answers within the target", w.Limit())
	}
	w.Demand(now, 30*time.Millisecond) // one that was late
	demands(&w, &now, 3, 300*time.Microsecond)
	if w.Limit() != 640 {
		t.Errorf("limit %d after one late answer", w.Limit())
	}
	demands(&w, &now, windowSamples+2, 6*time.Millisecond)
	if w.Limit() != 320 {
		t.Errorf("limit %d after one congested round trip, want half", w.Limit())
	}
	demands(&w, &now, 100, 6*time.Millisecond)
	if w.Limit() != 10 {
		t.Errorf("limit %d under lasting delay, want one chunk", w.Limit())
	}
	grown := func(delay time.Duration) uint64 {
		w.limit = 100
		demands(&w, &now, windowSamples, delay)
		for range 100 {
			w.Done(now, 10)
			demands(&w, &now, 1, delay)
		}
		return w.Limit()
	}
	if near, far := grown(1100*time.Microsecond), grown(300*time.Microsecond); near >= far || near <= 100 || far > 200 {
		t.Errorf("in ten windows from 100 to %d near the target and to %d far from it", near, far)
	}
	w.limit = 100
	demands(&w, &now, windowSamples, 6*time.Millisecond)
	before := w.Limit()
	w.Done(now, 10)
	if w.Limit() != before {
		t.Errorf("it grows above the target")
	}
	now = now.Add(time.Second) // nobody waits for pages
	for range 100 {
		w.Done(now, 10)
	}
	if w.Limit() <= before {
		t.Errorf("a delay of a second ago holds it at %d", w.Limit())
	}
}

// TestWindowOnALongPath lets answers vary by a few milliseconds: that is no
// queue where one takes a hundred.
func TestWindowOnALongPath(t *testing.T) {
	w := Window{Chunk: 10, Most: 640, Target: time.Millisecond, RTT: 100 * time.Millisecond}
	now := time.Unix(0, 0)
	for i := range 400 {
		now = now.Add(10 * time.Millisecond)
		w.Demand(now, 100*time.Millisecond+time.Duration(i%8)*time.Millisecond)
		w.Done(now, 10)
	}
	if w.Limit() != 640 {
		t.Errorf("limit %d", w.Limit())
	}
	for range 100 {
		now = now.Add(10 * time.Millisecond)
		w.Demand(now, 140*time.Millisecond)
	}
	if w.Limit() >= 640 {
		t.Error("a queue of 40 ms does not shrink it")
	}
}

// TestWindowForgetsTheBase: a path that has become longer is no queue.
func TestWindowForgetsTheBase(t *testing.T) {
	w := Window{Chunk: 10, Most: 640, Target: time.Millisecond}
	now := time.Unix(0, 0)
	demands(&w, &now, 10, time.Millisecond)
	for range 3000 {
		now = now.Add(10 * time.Millisecond)
		w.Demand(now, 20*time.Millisecond)
		w.Done(now, 10)
	}
	if w.Limit() < 100 {
		t.Errorf("limit %d half a minute after the path became longer", w.Limit())
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
