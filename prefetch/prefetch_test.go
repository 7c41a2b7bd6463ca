package prefetch

import (
	"testing"
	"time"

	"github.com/lazymig/lazymig"
)

// gaps returns a Missing over a set of pages.
func gaps(pages map[lazymig.PageNumber]bool, end lazymig.PageNumber) Missing {
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
		run, ok := l.Next(3, gaps(missing, 64))
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
	l.Next(64, gaps(missing, 64))
	delete(missing, 2)
	l.Next(64, gaps(missing, 64))
	delete(missing, 60)
	missing[5] = true // its answer was lost with the link
	run, ok := l.Next(64, gaps(missing, 64))
	if !ok || run.First != 5 {
		t.Errorf("got %+v %v, want page 5", run, ok)
	}
}

func TestWindow(t *testing.T) {
	w := NewWindow(10)
	w.Add(8)
	if w.Room() != 2 {
		t.Errorf("room %d", w.Room())
	}
	w.Add(8)
	if w.Room() != 0 {
		t.Errorf("room %d over the limit", w.Room())
	}
	w.Done(100)
	if w.Room() != 10 {
		t.Errorf("room %d after more answers than questions", w.Room())
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
