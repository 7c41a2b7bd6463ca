package migrate

import (
	"slices"
	"testing"
	"time"
)

func TestWaits(t *testing.T) {
	c := newCounters()
	for _, d := range []time.Duration{20 * time.Microsecond, 70 * time.Microsecond, 70 * time.Microsecond, 3 * time.Millisecond, time.Hour} {
		c.fault(c.faultWire, d)
	}
	w := c.waits()
	if w.Zero.Count != 0 || w.Zero.Sum != 0 || slices.Max(w.Zero.Within) != 0 {
		t.Errorf("nothing waited for zeros, and they say %+v", w.Zero)
	}
	bounds := WaitBounds()
	if !slices.IsSorted(bounds) || len(w.Remote.Within) != len(bounds) {
		t.Fatalf("bounds %v, counts %v", bounds, w.Remote.Within)
	}
	want := map[time.Duration]uint64{
		25 * time.Microsecond: 1, 50 * time.Microsecond: 1, 100 * time.Microsecond: 3, 2500 * time.Microsecond: 3,
		5 * time.Millisecond: 4, 30 * time.Second: 4,
	}
	for i, bound := range bounds {
		if n, ok := want[bound]; ok && w.Remote.Within[i] != n {
			t.Errorf("%d waits within %v, want %d", w.Remote.Within[i], bound, n)
		}
	}
	if w.Remote.Count != 5 {
		t.Errorf("%d waits, want 5", w.Remote.Count)
	}
	// The longest is cut to what the histogram holds, which has two digits.
	longest := time.Duration(latencyMax) * time.Microsecond
	if w.Remote.Sum < longest*99/100 || w.Remote.Sum > longest*101/100 {
		t.Errorf("all waits together are %v, want about %v", w.Remote.Sum, longest)
	}
}
