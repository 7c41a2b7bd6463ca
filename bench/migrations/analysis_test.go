package migrations

import (
	"testing"
	"time"

	"github.com/lazymig/lazymig/bench/heartbeat"
)

// made up: 1000 beats a second and 1000 operations a beat. The guest moves at
// 2 s, is silent for 300 ms, works at half its speed for 1 s and then at all.
func exampleLine() timeline {
	start := time.Unix(1000, 0)
	var beats []heartbeat.Beat
	var ops uint64
	add := func(at time.Duration, n uint64, stream int, worst time.Duration) {
		ops += n
		beats = append(beats, heartbeat.Beat{
			Stream: stream, Sequence: uint64(len(beats) + 1), Ops: ops, Worst: worst, Received: start.Add(at),
		})
	}
	for at := time.Duration(0); at < 2*time.Second; at += time.Millisecond {
		add(at, 1000, 0, 10*time.Microsecond)
	}
	add(2300*time.Millisecond, 0, 1, 290*time.Millisecond)
	for at := 2301 * time.Millisecond; at < 3300*time.Millisecond; at += time.Millisecond {
		add(at, 500, 1, 2*time.Millisecond)
	}
	for at := 3300 * time.Millisecond; at < 5*time.Second; at += time.Millisecond {
		add(at, 1000, 1, 10*time.Microsecond)
	}
	line, ok := newTimeline(beats, 1)
	if !ok {
		panic("no switch in the example")
	}
	line.baseRate = 1e6
	line.began, line.stopped, line.free = start.Add(1900*time.Millisecond), start.Add(2*time.Second), start.Add(3*time.Second)
	return line
}

func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if got < want-tolerance || got > want+tolerance {
		t.Errorf("%s is %g, want %g", what, got, want)
	}
}

func TestTimeline(t *testing.T) {
	line := exampleLine()
	var r Results
	line.fill(&r)
	near(t, "gap", r.GapMS, 301, 0)
	near(t, "worst operation", r.WorstMS, 290, 0)
	line.resumed = line.stopped.Add(20 * time.Millisecond)
	if n := line.faultsBeforeBeat([]int64{-1, 0, 5, 280_000, 280_001}); n != 3 {
		t.Errorf("%d faults before the first beat, want 3", n)
	}
	near(t, "p99", r.P99MS, 2, 0)
	near(t, "switch", r.SwitchAtMS, 100, 0)
	near(t, "free", r.FreeMS, 1100, 0)
	if r.RecoveredMS == nil || r.LostWorkMS == nil {
		t.Fatalf("not recovered: %+v", r)
	}
	// 90 % of 100 ms: 80 ms of it at full speed, from 1400 ms on.
	near(t, "recovery", *r.RecoveredMS, 1480, 11)
	// 300 ms of nothing and half of 1000 ms.
	near(t, "lost work", *r.LostWorkMS, 800, 3)
}

func TestTimelineOfIdleGuest(t *testing.T) {
	line := exampleLine()
	line.baseRate = 0
	var r Results
	line.fill(&r)
	if r.RecoveredMS != nil || r.LostWorkMS != nil || r.GapMS == 0 {
		t.Errorf("an idle guest: %+v", r)
	}
}

func TestTimelineThatNeverRecovers(t *testing.T) {
	line := exampleLine()
	line.baseRate = 2e6
	var r Results
	line.fill(&r)
	if r.RecoveredMS != nil || r.LostWorkMS != nil {
		t.Errorf("the guest never came back: %+v", r)
	}
}

func TestNoSwitch(t *testing.T) {
	line := exampleLine()
	for _, beats := range [][]heartbeat.Beat{nil, line.beats[:100], line.beats[line.first:]} {
		if _, ok := newTimeline(beats, 1); ok {
			t.Errorf("%d beats have a switch", len(beats))
		}
	}
}

func TestSeries(t *testing.T) {
	line := exampleLine()
	points := line.series()
	sums := map[bool]uint64{}
	for i, p := range points {
		sums[p.AtMS > 0] += p.Ops
		if i > 0 && p.AtMS != points[i-1].AtMS+10 {
			t.Fatalf("point %d is at %d ms, the one before at %d ms", i, p.AtMS, points[i-1].AtMS)
		}
		if p.AtMS > 0 && p.AtMS < 300 && p.Ops != 0 {
			t.Errorf("%d operations at %d ms, while the guest stood still", p.Ops, p.AtMS)
		}
	}
	near(t, "operations before", float64(sums[false]), 1e6, 1e4)
	near(t, "operations behind", float64(sums[true]), 2.2e6, 1e4)
}

func TestLongestGap(t *testing.T) {
	line := exampleLine()
	if got := longestGap(line.beats, 1); got != 301*time.Millisecond {
		t.Errorf("longest gap %v", got)
	}
	if got := longestGap(line.beats, 2001); got != time.Millisecond {
		t.Errorf("longest gap behind the switch %v", got)
	}
}
