package prefetch

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/lazymig/lazymig"
)

// pageSet is a Table of pages that are missing.
type pageSet []bool

func allMissing(n int) pageSet {
	s := make(pageSet, n)
	for i := range s {
		s[i] = true
	}
	return s
}

func (s pageSet) IsMissing(p lazymig.PageNumber) bool { return int(p) < len(s) && s[p] }

func (s pageSet) Missing(from lazymig.PageNumber) (lazymig.Run, bool) {
	for p := int(from); p < len(s); p++ {
		if s[p] {
			run := lazymig.Run{First: lazymig.PageNumber(p)}
			for ; p < len(s) && s[p]; p++ {
				run.Count++
			}
			return run, true
		}
	}
	return lazymig.Run{}, false
}

func (s pageSet) MissingBefore(to lazymig.PageNumber) (lazymig.Run, bool) {
	for p := int(min(to, lazymig.PageNumber(len(s)))) - 1; p >= 0; p-- {
		if s[p] {
			end := p
			for p >= 0 && s[p] {
				p--
			}
			return lazymig.Run{First: lazymig.PageNumber(p + 1), Count: uint64(end - p)}, true
		}
	}
	return lazymig.Run{}, false
}

// take marks a run as asked for. It must have been missing.
func (s pageSet) take(t *testing.T, run lazymig.Run, limit uint64) {
	t.Helper()
	if run.Count == 0 || run.Count > limit {
		t.Fatalf("run %+v, limit %d", run, limit)
	}
	for p := run.First; p < run.End(); p++ {
		if !s[p] {
			t.Fatalf("page %d is asked for and not missing", p)
		}
		s[p] = false
	}
}

// TestPlanAsksForAll: whatever the faults, every page is asked for exactly once,
// with bubbles or the linear walk.
func TestPlanAsksForAll(t *testing.T) {
	for _, policies := range [][]Policy{{LinearPolicy}, {Bubble, LinearPolicy}, {StridePolicy, LinearPolicy}, Policies()} {
		random := rand.New(rand.NewPCG(1, 2))
		pages := allMissing(5000)
		plan := NewPlan(policies, 64, 200)
		for {
			if random.IntN(3) == 0 {
				p := lazymig.PageNumber(random.IntN(len(pages)))
				plan.Fault(uint32(random.IntN(4)), p)
				pages[p] = false
			}
			run, ok := plan.Next(64, pages)
			if !ok {
				break
			}
			pages.take(t, run, 64)
		}
		if i := slices.Index(pages, true); i >= 0 {
			t.Errorf("%v: page %d is left", policies, i)
		}
	}
}

func TestBubbleGrowsBothWays(t *testing.T) {
	pages := allMissing(1000)
	var b Bubbles
	pages[500] = false
	b.Fault(500)
	var got []lazymig.PageNumber
	for range 4 {
		run, ok := b.Next(10, pages)
		if !ok {
			t.Fatal("it has come to its end")
		}
		pages.take(t, run, 10)
		got = append(got, run.First)
	}
	if want := []lazymig.PageNumber{501, 490, 511, 480}; !slices.Equal(got, want) {
		t.Errorf("asked for %v, want %v", got, want)
	}
	b.Fault(505) // within the bubble: no new one
	if len(b.pivots) != 1 {
		t.Errorf("%d bubbles", len(b.pivots))
	}
	b.Fault(100) // the newest comes first
	if run, _ := b.Next(10, pages); run.First != 101 && run.First != 100 {
		t.Errorf("asked for %v", run)
	}
	for p := range 20 {
		b.Fault(lazymig.PageNumber(600 + 20*p))
	}
	if len(b.pivots) != maxPivots {
		t.Errorf("%d bubbles", len(b.pivots))
	}
}

func TestBubbleReach(t *testing.T) {
	pages := allMissing(1000)
	b := Bubbles{Reach: 50}
	b.Fault(500)
	asked := 0
	for {
		run, ok := b.Next(16, pages)
		if !ok {
			break
		}
		if run.First < 440 || run.End() > 570 {
			t.Errorf("asked for %v", run)
		}
		pages.take(t, run, 16)
		asked += int(run.Count)
	}
	if asked < 100 {
		t.Errorf("%d pages", asked)
	}
}

// TestStride walks in steps: faults that are behind what was fetched open the
// window, a walk that turns elsewhere closes it.
func TestStride(t *testing.T) {
	for _, step := range []int64{1, 3, -2, 64} {
		s := Stride{Most: 32}
		at := int64(100_000)
		faults, window := 0, 0
		for range 20 {
			got, ahead := s.Fault(lazymig.PageNumber(at))
			faults++
			if ahead > 0 && got != step {
				t.Fatalf("step %d, want %d", got, step)
			}
			window = max(window, ahead)
			at += step * int64(ahead+1) // what is ahead is there when it comes by
		}
		if window != 32 {
			t.Errorf("step %d: the window came to %d", step, window)
		}
	}
}

func TestStrideOfNoise(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	s := Stride{Most: 64}
	wasted := 0
	for range 10_000 {
		_, ahead := s.Fault(lazymig.PageNumber(random.Uint64N(1 << 20)))
		wasted += ahead
	}
	if wasted > 200 {
		t.Errorf("%d pages ahead of a random walk of 10000", wasted)
	}
}

func TestParsePolicies(t *testing.T) {
	if got, err := ParsePolicies("linear, hotset,linear"); err != nil || !slices.Equal(got, []Policy{LinearPolicy, HotSet}) {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"", "oracle", "linear,"} {
		if _, err := ParsePolicies(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
