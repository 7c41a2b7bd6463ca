package migrations

import (
	"testing"
	"time"

	"github.com/lazymig/lazymig/bench/host"
	"github.com/lazymig/lazymig/bench/link"
)

// TestClocks: what two hosts tell by clocks of their own is set right, and a
// clock that was changed meanwhile makes the result less certain.
func TestClocks(t *testing.T) {
	start := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	before := clocks{
		link.HostA: {Offset: 5 * time.Second, Bound: time.Millisecond},
		link.HostB: {Offset: -3 * time.Second, Bound: 2 * time.Millisecond},
	}
	stop, resume := start.Add(5*time.Second), start.Add(-3*time.Second+40*time.Millisecond)
	stopped := func(c clocks) time.Duration {
		return c.here(link.HostB, resume).Sub(c.here(link.HostA, stop))
	}
	same := before.until(before)
	if got := stopped(same); got != 40*time.Millisecond || same.bound() != 3*time.Millisecond {
		t.Errorf("stopped for %v, within %v", got, same.bound())
	}
	changed := before.until(clocks{
		link.HostA: {Offset: 5*time.Second + 10*time.Millisecond, Bound: 4 * time.Millisecond},
		link.HostB: before[link.HostB],
	})
	if got := stopped(changed); (got-40*time.Millisecond).Abs() > changed.bound() || changed.bound() != 4*time.Millisecond+5*time.Millisecond+2*time.Millisecond {
		t.Errorf("a clock was set: stopped for %v, within %v", got, changed.bound())
	}
	one := clocks{link.HostA: host.Clock{}, link.HostB: host.Clock{}}
	if one.until(one).bound() != 0 || !one.here(link.HostA, stop).Equal(stop) {
		t.Error("one clock is not certain")
	}
}
