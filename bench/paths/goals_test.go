package paths

import (
	"testing"
	"time"
)

// everything has each figure of each case at n.
func everything(n float64) figuresOf {
	r := figuresOf{}
	for _, c := range Plan(false) {
		r[c] = Figures{}
		for _, f := range []Figure{P50, P99, P999, Max, PerSecond, Unfairness, PagesPerSecond, Rate, BulkRate, WholeRate, WireRate, CPU, Connections} {
			r[c][f] = n
		}
	}
	return r
}

// TestGoalsAreMeasured: the plan has all that goals are computed from.
func TestGoalsAreMeasured(t *testing.T) {
	groups := map[string]bool{}
	last := ""
	for _, g := range goals() {
		got := g.judge([]figuresOf{everything(1), everything(3)})
		if got.Value.Rounds != 2 || (g.limit != nil) != (got.Limit != nil) {
			t.Errorf("%s, %s: %+v", g.group, g.what, got)
		}
		if g.group != last && groups[g.group] {
			t.Errorf("%s stands in two places", g.group)
		}
		last, groups[g.group] = g.group, true
		if got := g.judge([]figuresOf{{}}); got.Value.Rounds != 0 || got.Met {
			t.Errorf("%s, %s, of nothing: %+v", g.group, g.what, got)
		}
	}
}

func TestJudge(t *testing.T) {
	c := on(lan, OnDemand, 1)
	rounds := func(values ...float64) (all []figuresOf) {
		for _, n := range values {
			all = append(all, figuresOf{c: {P50: n, Max: 2 * n}})
		}
		return append(all, figuresOf{}) // it failed in one round
	}
	for _, test := range []struct {
		goal   goal
		values []float64
		value  float64
		met    bool
	}{
		{most("g", "w", of(c, P50), 10), []float64{1, 30, 10}, 10, true},
		{most("g", "w", of(c, P50), 10), []float64{1, 30}, 15.5, false},
		{least("g", "w", of(c, P50), 10), []float64{1, 30}, 15.5, true},
		{least("g", "w", of(c, P50), 10), []float64{1, 9, 30}, 9, false},
		{told("g", "w", over(of(c, Max), of(c, P50))), []float64{3}, 2, false},
		{most("g", "w", plus(of(c, P50), 2, of(c, Max)), 50), []float64{10}, 50, true},
	} {
		got := test.goal.judge(rounds(test.values...))
		if got.Value.Median != test.value || got.Met != test.met || got.Value.Rounds != len(test.values) {
			t.Errorf("%v: %+v", test.values, got)
		}
	}
	if n, ok := share(c, P50)(figuresOf{c: {P50: 62.5e6}}); !ok || n != 50 {
		t.Errorf("share of the link: %g, %t", n, ok)
	}
	if _, ok := over(of(c, P50), of(c, Max))(figuresOf{c: {P50: 1, Max: 0}}); ok {
		t.Error("something over nothing is a figure")
	}
}

func TestTimeline(t *testing.T) {
	start := time.Unix(1000, 0)
	after := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	l := timeline{{At: start}, {At: after(200), Pages: 0}, {At: after(400), Pages: 100, Bulk: 50}, {At: after(600), Pages: 200, Bulk: 150}}
	for ms, want := range map[int][2]float64{-5: {0, 0}, 200: {0, 0}, 300: {50, 25}, 500: {150, 100}, 700: {200, 150}} {
		if got := l.at(after(ms)); got.Pages != want[0] || got.Bulk != want[1] {
			t.Errorf("at %d ms: %+v, want %v", ms, got, want)
		}
	}
	if got := l.span(drainFrom, drainTo); got != 320*time.Millisecond {
		t.Errorf("the middle took %v", got)
	}
	if got := l.span(0, 1); got != 400*time.Millisecond {
		t.Errorf("all took %v from the first page on", got)
	}
}

func TestDescribe(t *testing.T) {
	start := time.Unix(1000, 0)
	f := describe(touched{
		Samples: []time.Duration{3000, 1000, 2000, 4000}, Means: []time.Duration{1000, 2000, 6000}, Present: 4,
		From: start, To: start.Add(2 * time.Second),
	})
	for name, want := range map[Figure]float64{Count: 4, P50: 2, Max: 4, PerSecond: 2, PagesPerSecond: 4, Unfairness: 3} {
		if f[name] != want {
			t.Errorf("%s is %g, want %g", name, f[name], want)
		}
	}
	if _, ok := f[P999]; ok {
		t.Error("four faults have a p99.9")
	}
	if s := statOf([]float64{5, 1, 2, 4}); s != (Stat{Median: 3, Least: 1, Most: 5, Rounds: 4}) {
		t.Errorf("%+v", s)
	}
}
