package migrations

import (
	"slices"
	"time"

	"github.com/lazymig/lazymig/bench/heartbeat"
)

// timeline is what the heartbeat says of one move. All beats of the guest are
// in it, in order.
type timeline struct {
	beats []heartbeat.Beat
	// baseRate is the guest's speed before the move, in operations per second.
	baseRate float64
	// began, stopped, resumed and free are when the move began, the guest stopped
	// and ran again, and the source was needed no more.
	began, stopped, resumed, free time.Time
	// first is the position of the first beat from the destination.
	first int
}

// newTimeline finds the switch to the VMM of a stream, or returns false if the
// guest has not been heard from it.
func newTimeline(beats []heartbeat.Beat, stream int) (timeline, bool) {
	first := slices.IndexFunc(beats, func(b heartbeat.Beat) bool { return b.Stream == stream })
	return timeline{beats: beats, first: first}, first > 0
}

// gap is the time between the beats around the switch.
func (t timeline) gap() time.Duration {
	return t.beats[t.first].Received.Sub(t.beats[t.first-1].Received)
}

// faultsBeforeBeat counts the faults, in microseconds behind the resume, that were
// between that and the first beat. Those of the load of devices are before it.
func (t timeline) faultsBeforeBeat(faults []int64) int {
	n, beat := 0, t.beats[t.first].Received.Sub(t.resumed).Microseconds()
	for _, at := range faults {
		if at >= 0 && at <= beat {
			n++
		}
	}
	return n
}

// worst returns the longest operation after the switch, and the 99th percentile
// of the longest operation of each beat until the move has ended.
func (t timeline) worst() (worst, p99 time.Duration) {
	var all []time.Duration
	for _, b := range t.beats[t.first:] {
		worst = max(worst, b.Worst)
		if !b.Received.After(t.free) || len(all) == 0 {
			all = append(all, b.Worst)
		}
	}
	slices.Sort(all)
	return worst, all[(len(all)*99-1)/100]
}

// ops returns the operations that had been heard of at a time. What a beat
// tells counts when it arrives, so that nothing happens in a gap.
func (t timeline) ops(at time.Time) uint64 {
	i, _ := slices.BinarySearchFunc(t.beats, at, func(b heartbeat.Beat, at time.Time) int {
		if b.Received.After(at) {
			return 1
		}
		return -1
	})
	return t.beats[max(0, i-1)].Ops
}

// recovered returns when the guest was back at its speed: the end of the first
// window behind the switch in which it was. Idle guests have no speed.
func (t timeline) recovered() (time.Time, bool) {
	if t.baseRate == 0 {
		return time.Time{}, false
	}
	want := uint64(recoveredShare * t.baseRate * recoveryWindow.Seconds())
	last := t.beats[len(t.beats)-1].Received
	for at := t.beats[t.first].Received.Add(recoveryWindow); !at.After(last); at = at.Add(seriesStep) {
		if t.ops(at)-t.ops(at.Add(-recoveryWindow)) >= want {
			return at, true
		}
	}
	return time.Time{}, false
}

// lostWork returns the work that was not done between the begin of the move
// and end, as time at full speed.
func (t timeline) lostWork(end time.Time) time.Duration {
	done := float64(t.ops(end)-t.ops(t.began)) / t.baseRate
	return max(0, end.Sub(t.began)-time.Duration(done*float64(time.Second)))
}

// series returns the guest's work in steps around its stop, as far as beats
// tell.
func (t timeline) series() []Point {
	from, to := t.stopped.Add(-seriesBefore), t.stopped.Add(seriesAfter)
	if begin := t.beats[0].Received; begin.After(from) {
		from = t.stopped.Add(-begin.Sub(t.stopped).Abs().Truncate(seriesStep))
	}
	if end := t.beats[len(t.beats)-1].Received; end.Before(to) {
		to = end
	}
	var points []Point
	for at := from.Add(seriesStep); !at.After(to); at = at.Add(seriesStep) {
		points = append(points, Point{AtMS: at.Sub(t.stopped).Milliseconds(), Ops: t.ops(at) - t.ops(at.Add(-seriesStep))})
	}
	return points
}

// fill writes what the timeline tells into the results.
func (t timeline) fill(r *Results) {
	worst, p99 := t.worst()
	r.GapMS, r.WorstMS, r.P99MS = ms(t.gap()), ms(worst), ms(p99)
	r.SwitchAtMS, r.FreeMS, r.BaseRate = ms(t.stopped.Sub(t.began)), ms(t.free.Sub(t.began)), t.baseRate
	back, ok := t.recovered()
	if !ok {
		return
	}
	r.RecoveredMS = pointer(ms(back.Sub(t.began)))
	if back.Before(t.free) {
		back = t.free
	}
	r.LostWorkMS = pointer(ms(t.lostWork(back)))
}

// ms returns a time in milliseconds, to the microsecond.
func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func pointer(f float64) *float64 { return &f }

// median returns the middle value, the lower one of two.
func median(values []time.Duration) time.Duration {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[(len(sorted)-1)/2]
}
