package faults

import (
	"slices"
	"testing"
	"time"
)

func micros(n ...int) []time.Duration {
	out := make([]time.Duration, len(n))
	for i := range n {
		out[i] = time.Duration(n[i]) * time.Microsecond
	}
	return out
}

func upTo(n int) []time.Duration {
	out := make([]time.Duration, n)
	for i := range out {
		out[i] = time.Duration(i+1) * time.Microsecond
	}
	return out
}

func TestQuantile(t *testing.T) {
	for _, c := range []struct {
		samples []time.Duration
		part    float64
		want    int
	}{
		{micros(7), 0.5, 7},
		{micros(7), 0.001, 7},
		{micros(1, 2), 0.5, 1},
		{micros(1, 2), 0.51, 2},
		{micros(1, 2, 3), 0.5, 2},
		{upTo(100), 0.9, 90},
		{upTo(100), 0.99, 99},
		{upTo(100), 0.999, 100},
		{upTo(1000), 0.999, 999},
		{upTo(1000), 1, 1000},
		{upTo(10), 0, 1},
	} {
		if got := quantile(c.samples, c.part); got != time.Duration(c.want)*time.Microsecond {
			t.Errorf("%d samples, %g: %v, want %d µs", len(c.samples), c.part, got, c.want)
		}
	}
}

func TestSummarize(t *testing.T) {
	got := Summarize(upTo(2000), 4*time.Second)
	want := Summary{Count: 2000, P50: 1000, P90: 1800, P99: 1980, P999: 1998, Max: 2000, PerSecond: 500}
	if got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := Summarize(upTo(999), time.Second); got.P999 != 0 {
		t.Errorf("999 faults have a p99.9 of %g", got.P999)
	}
	if got := Summarize(nil, 0); got != (Summary{}) {
		t.Errorf("nothing is %+v", got)
	}
}

func TestCurve(t *testing.T) {
	if curve(nil) != nil {
		t.Error("nothing has a distribution")
	}
	for _, n := range []int{1, 2, 10, 500, 100_000} {
		points := curve(upTo(n))
		if first, last := points[0], points[len(points)-1]; first.US != 1 || last.US != float64(n) || last.Part != 1 {
			t.Errorf("%d: from %+v to %+v", n, first, last)
		}
		if !slices.IsSortedFunc(points, func(a, b Point) int {
			if a.Part >= b.Part || a.US > b.US {
				return 1
			}
			return -1
		}) {
			t.Errorf("%d: not ascending: %v", n, points)
		}
		if len(points) > 2*curvePoints {
			t.Errorf("%d: %d points", n, len(points))
		}
	}
}

func TestPlan(t *testing.T) {
	cases := plan(Full())
	if len(cases) != 12*7+2*2 {
		t.Errorf("%d cases", len(cases))
	}
	seen := map[Case]bool{}
	for _, c := range cases {
		if seen[c] {
			t.Errorf("%+v twice", c)
		}
		seen[c] = true
		if c.Handler.RoundTrip() != (c.Memory == None) {
			t.Errorf("%+v", c)
		}
	}
}

func TestSetLimits(t *testing.T) {
	one := Setting{Anonymous, 4, Idle}
	results := []Result{
		{Case: Case{Floor, one}, Summary: Summary{P50: 10}},
		{Case: Case{Zero, one}, Summary: Summary{P50: 5}},
		{Case: Case{Lazymig, one}, Summary: Summary{P50: 100}},
		{Case: Case{SerialTCP, one}, Summary: Summary{P50: 60}},
		{Case: Case{RoundTripQUIC, Setting{None, 1, Idle}}, Summary: Summary{P50: 40}},
		{Case: Case{RoundTripTCP, Setting{None, 1, Idle}}, Summary: Summary{P50: 20}},
		{Case: Case{Lazymig, Setting{Shared, 4, Busy}}, Summary: Summary{P50: 100}},
	}
	setLimits(results)
	for i, want := range [][2]float64{{0, 0}, {10, 0.5}, {50, 2}, {30, 2}, {0, 0}, {0, 0}, {0, 0}} {
		if got := [2]float64{results[i].Limit, results[i].OverLimit}; got != want {
			t.Errorf("%+v: %v, want %v", results[i].Case, got, want)
		}
	}
}
