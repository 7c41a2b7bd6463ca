package migrations

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/lazymig/lazymig/bench/heartbeat"
	"github.com/lazymig/lazymig/bench/link"
)

// move moves the guest and notes what it cost until the source was free.
func (r *run) move(ctx context.Context) (err error) {
	side := r.pair.Source().Side()
	if r.before, err = r.pair.Host(side).Counters(); err != nil {
		return err
	}
	if r.clocks, err = readClocks(r.pair); err != nil {
		return err
	}
	r.source.forget()
	r.line.began = time.Now()
	if err := r.mover.move(ctx); err != nil {
		return errors.Join(err, r.explain())
	}
	r.line.free = time.Now()
	if err := errors.Join(r.noteCosts(side), r.costs.close(), r.noteTraffic(side)); err != nil {
		return err
	}
	if o, ok := r.mover.(*own); ok {
		if r.record.Own, err = o.finish(ctx); err != nil {
			return err
		}
		if least := r.setting.Cache.least() * float64(r.record.Own.PagesTotal); float64(r.record.Own.PagesCache) < least {
			return fmt.Errorf("only %d of %d pages came out of the cache (%s)", r.record.Own.PagesCache, r.record.Own.PagesTotal, r.setting.Cache)
		}
	}
	return r.noteSwitch(ctx)
}

// explain says what the destination's QEMU said before it failed.
func (r *run) explain() error {
	log := r.place.Log()
	if log == "" {
		return nil
	}
	return fmt.Errorf("the destination said: %s", log[max(0, len(log)-maxExplanation):])
}

// noteSwitch notes the times of STOP and RESUME.
func (r *run) noteSwitch(ctx context.Context) error {
	if _, err := r.source.await(ctx, "STOP"); err != nil {
		return err
	}
	if _, err := r.target.await(ctx, "RESUME"); err != nil {
		return errors.Join(err, r.explain())
	}
	now, err := readClocks(r.pair)
	if err != nil {
		return err
	}
	both := r.clocks.until(now)
	stopped := both.here(r.pair.Source().Side(), r.source.seen["STOP"])
	resumed := both.here(r.place.Side(), r.target.seen["RESUME"])
	r.record.StoppedMS = ms(resumed.Sub(stopped))
	r.record.ClockBoundMS = ms(both.bound())
	// QEMU's time stamps have no monotonic reading: count back from now.
	at := time.Now()
	r.line.stopped = at.Add(-at.Round(0).Sub(stopped))
	r.line.resumed = at.Add(-at.Round(0).Sub(resumed))
	return nil
}

func (r *run) noteTraffic(side link.Side) error {
	after, err := r.pair.Host(side).Counters()
	if err != nil {
		return err
	}
	r.record.BytesOut, r.record.BytesBack = after.Sent-r.before.Sent, after.Received-r.before.Received
	if r.pair.Link != nil {
		seen := r.pair.Link.PathStats()
		r.record.PacketsLost, r.record.PacketsDropped = seen.Lost, seen.Dropped
	}
	return nil
}

// noteCosts notes what the processes of both hosts have used. QEMU's share for
// other things is charged to the host that ran the guest.
func (r *run) noteCosts(source link.Side) error {
	r.source.drain()
	atSource := r.line.free.Sub(r.prepared)
	if stopped, ok := r.source.seen["STOP"]; ok {
		atSource = r.clocks.here(source, stopped).Sub(r.prepared.Round(0))
	}
	atDestination := r.line.free.Sub(r.prepared) - atSource
	from, err := r.costs[source].Spent()
	if err != nil {
		return err
	}
	to, err := r.costs[source.Other()].Spent()
	if err != nil {
		return err
	}
	res := &r.record.Results
	res.MeasuringCPU = (ownCPU() - r.ownCPU).Seconds()
	res.CPUSource = max(0, from.Time.Seconds()-r.idleRate*atSource.Seconds())
	res.CPUDestination = max(0, to.Time.Seconds()-r.idleRate*atDestination.Seconds())
	if res.MemoryUsed > 0 {
		res.CPUPerGiB = (res.CPUSource + res.CPUDestination) / (float64(res.MemoryUsed) / (1 << 30))
	}
	if r.setting.RAM != RAMPlain {
		res.PeakSource, res.PeakDestination = from.Peak, to.Peak
	}
	return nil
}

// ownCPU is what this process has used until now.
func ownCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// check waits until the guest has its speed again, and verifies it.
func (r *run) check(ctx context.Context) error {
	if err := r.pair.Moved(); err != nil {
		return err
	}
	line, err := r.recover(ctx)
	if err != nil {
		return errors.Join(err, r.explain())
	}
	answer, err := r.place.Verify(ctx)
	r.record.Verification = answer.String()
	if err == nil && r.setting.Guest == Files && answer.Number("cached") < answer.Number("file_pages")*19/20 {
		err = fmt.Errorf("verify the guest's files: only %d of %d pages are in its page cache", answer.Number("cached"), answer.Number("file_pages"))
	}
	if err := errors.Join(err, r.pair.Beats.CheckGuest()); err != nil {
		return errors.Join(err, r.explain())
	}
	line.fill(&r.record.Results)
	if r.record.Own != nil {
		n := line.faultsBeforeBeat(r.record.Own.FirstFaultsUS)
		r.record.FaultsBeforeBeat = &n
	}
	r.record.Series = line.series()
	return nil
}

// recover follows the guest until it is back at its speed, and for the time of
// the base line if it is idle.
func (r *run) recover(ctx context.Context) (timeline, error) {
	limit := time.Now().Add(recoverTimeout)
	for {
		if err := r.alive(ctx); err != nil {
			return timeline{}, err
		}
		beats, err := r.pair.Beats.Beats()
		if err != nil {
			return timeline{}, err
		}
		line, ok := newTimeline(beats, r.place.Stream().Number())
		if !ok {
			return line, errors.New("find the switch in the heartbeat: it is not there")
		}
		line.baseRate, line.began, line.free = r.line.baseRate, r.line.began, r.line.free
		line.stopped, line.resumed = r.line.stopped, r.line.resumed
		if _, back := line.recovered(); back || line.baseRate == 0 || time.Now().After(limit) {
			return line, nil
		}
	}
}

// alive waits for some heartbeats. A guest that has panicked is silent.
func (r *run) alive(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, silenceTimeout, fmt.Errorf("the guest is silent for %v", silenceTimeout))
	defer cancel()
	_, err := r.place.Stream().Wait(ctx, warmUp)
	return err
}

// longestGap returns the longest time between two beats from the one with the
// number on.
func longestGap(beats []heartbeat.Beat, sequence uint64) time.Duration {
	var longest time.Duration
	for i := 1; i < len(beats); i++ {
		if beats[i-1].Sequence >= sequence {
			longest = max(longest, beats[i].Received.Sub(beats[i-1].Received))
		}
	}
	return longest
}
