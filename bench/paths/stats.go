package paths

import (
	"slices"
	"time"

	"github.com/lazymig/lazymig/bench/faults"
)

// describe returns the figures of faults or round trips.
func describe(t touched) Figures {
	slices.Sort(t.Samples)
	took := t.To.Sub(t.From)
	s := faults.Summarize(t.Samples, took)
	f := Figures{
		Count: float64(s.Count), P50: s.P50, P99: s.P99, Max: s.Max, PerSecond: s.PerSecond,
		PagesPerSecond: float64(len(t.Samples)+t.Present) / took.Seconds(),
	}
	if s.P999 > 0 {
		f[P999] = s.P999
	}
	if len(t.Means) > 1 {
		means := make([]float64, len(t.Means))
		for i, m := range t.Means {
			means[i] = m.Seconds()
		}
		f[Unfairness] = slices.Max(means) / median(means)
	}
	return f
}

// median returns the median of some figures, of two in the middle the mean.
func median(of []float64) float64 {
	of = slices.Sorted(slices.Values(of))
	n := len(of)
	return (of[(n-1)/2] + of[n/2]) / 2
}

// statOf describes figures of several rounds.
func statOf(of []float64) Stat {
	if len(of) == 0 {
		return Stat{}
	}
	return Stat{Median: median(of), Least: slices.Min(of), Most: slices.Max(of), Rounds: len(of)}
}

// timeline is what had come at some times, in their order.
type timeline []mark

// at returns what had come at a time. Between two marks it grows evenly.
func (l timeline) at(t time.Time) mark {
	i, _ := slices.BinarySearchFunc(l, t, func(m mark, t time.Time) int { return m.At.Compare(t) })
	switch {
	case i == 0:
		return l[0]
	case i == len(l):
		return l[i-1]
	}
	a, b := l[i-1], l[i]
	part := float64(t.Sub(a.At)) / float64(b.At.Sub(a.At))
	return mark{At: t, Pages: a.Pages + part*(b.Pages-a.Pages), Bulk: a.Bulk + part*(b.Bulk-a.Bulk)}
}

// span returns how long it took from one part of all pages to another.
func (l timeline) span(from, to float64) time.Duration { return l.when(to).Sub(l.when(from)) }

// when returns the time at which a part of all pages had come.
func (l timeline) when(part float64) time.Time {
	want := part * l[len(l)-1].Pages
	for i := 1; i < len(l); i++ {
		if a, b := l[i-1], l[i]; b.Pages >= want && b.Pages > a.Pages {
			return a.At.Add(time.Duration((want - a.Pages) / (b.Pages - a.Pages) * float64(b.At.Sub(a.At))))
		}
	}
	return l[len(l)-1].At
}
