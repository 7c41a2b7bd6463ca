package demo

import (
	"context"
	"errors"
	"time"

	"github.com/lazymig/lazymig/bench/heartbeat"
)

// errSilent is returned when a guest that runs does not beat.
var errSilent = errors.New("the guest's heartbeat stands still")

// measure lets the guest settle and returns the page operations that it then
// does in a second, by what it does in d.
func measure(ctx context.Context, s *heartbeat.Stream, d time.Duration) (float64, error) {
	if err := pause(ctx, d/3); err != nil {
		return 0, err
	}
	first, err := next(ctx, s)
	if err != nil {
		return 0, err
	}
	if err := pause(ctx, d); err != nil {
		return 0, err
	}
	last, err := next(ctx, s)
	return rate(first, last), err
}

// next waits for a beat. On a busy machine the guest may not have run for a
// while.
func next(ctx context.Context, s *heartbeat.Stream) (heartbeat.Beat, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, silentTimeout, errSilent)
	defer cancel()
	return s.Wait(ctx, 1)
}

func rate(from, to heartbeat.Beat) float64 {
	seconds := to.Received.Sub(from.Received).Seconds()
	if seconds <= 0 {
		return 0
	}
	return float64(to.Ops-from.Ops) / seconds
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// speedometer tells the guest's speed between two looks at its heartbeat.
type speedometer struct {
	at  time.Time
	ops uint64
}

// look returns the page operations per second since the last look, 0 at the
// first one.
func (m *speedometer) look(s *heartbeat.Stream, now time.Time) float64 {
	last, ok := s.Last()
	if !ok {
		return 0
	}
	var speed float64
	if seconds := now.Sub(m.at).Seconds(); !m.at.IsZero() && seconds > 0 {
		speed = float64(last.Ops-m.ops) / seconds
	}
	m.at, m.ops = now, last.Ops
	return speed
}

// standstill finds the longest time from begin on in which a guest did no page
// operation, and how long behind whole it went on if it stood still then; else
// after is 0.
func standstill(beats []heartbeat.Beat, begin, whole time.Time) (longest, after time.Duration) {
	var ops uint64
	at := begin
	for _, b := range beats {
		if b.Ops == ops {
			continue
		}
		if b.Received.After(begin) {
			longest = max(longest, b.Received.Sub(at))
			if !at.After(whole) && b.Received.After(whole) && whole.Sub(at) >= stillTime {
				after = b.Received.Sub(whole)
			}
			at = b.Received
		}
		ops = b.Ops
	}
	return longest, after
}
