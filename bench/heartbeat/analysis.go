package heartbeat

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// clockSlack and clockDrift bound how far the guest's clock may run ahead of
// the host's: lines may be read late by a busy harness, and an emulated
// guest's clock is off by its calibration.
const (
	clockSlack = 50 * time.Millisecond
	clockDrift = 1000 // one part in
)

// maxProblems bounds the errors that Check reports: one fault shows in many
// beats.
const maxProblems = 5

// Switch is what a move looks like from outside.
type Switch struct {
	// Last is the last beat at the source, First the first at the
	// destination.
	Last, First Beat
	// Gap is the time between the arrivals of Last and First.
	Gap time.Duration
	// GuestGap is the same by the guest's clock, which stands still while
	// the guest is stopped.
	GuestGap time.Duration
	// Worst is the longest page operation that the destination's beats tell.
	Worst time.Duration
}

// Switch measures the move to the VMM of a stream: it returns an error if the
// stream has no beats, or none came before it.
func (r *Recorder) Switch(to *Stream) (Switch, error) {
	beats, err := r.Beats()
	if err != nil {
		return Switch{}, err
	}
	first := slices.IndexFunc(beats, func(b Beat) bool { return b.Stream == to.number })
	if first < 1 {
		return Switch{}, fmt.Errorf("measure the move to stream %d: it has no beat, or none is before it", to.number)
	}
	s := Switch{Last: beats[first-1], First: beats[first]}
	s.Gap = s.First.Received.Sub(s.Last.Received)
	s.GuestGap = s.First.Clock - s.Last.Clock
	for _, b := range beats[first:] {
		if b.Stream != to.number {
			break
		}
		s.Worst = max(s.Worst, b.Worst)
	}
	return s, nil
}

// Rate returns the beats a second that stream s brought.
func (s *Stream) Rate() float64 {
	s.recorder.mu.Lock()
	defer s.recorder.mu.Unlock()
	if len(s.beats) < 2 {
		return 0
	}
	first, last := s.beats[0], s.beats[len(s.beats)-1]
	return float64(last.Sequence-first.Sequence) / last.Received.Sub(first.Received).Seconds()
}

// Check returns an error if beats are missing or repeated, operations were
// undone, or the guest's clock went backwards or ran ahead of the host's.
func (r *Recorder) Check() error { return r.check(clockSlack) }

// CheckGuest is Check without the host's clock: for a machine so busy that
// beats are read late.
func (r *Recorder) CheckGuest() error { return r.check(math.MaxInt64 / 2) }

func (r *Recorder) check(slack time.Duration) error {
	beats, err := r.Beats()
	if err != nil {
		return err
	}
	if len(beats) < 2 {
		return fmt.Errorf("check the heartbeat: there are %d beats", len(beats))
	}
	return check(beats, slack)
}

func check(beats []Beat, slack time.Duration) error {
	var problems []error
	// lead is the smallest delay seen: guest clock less host clock.
	start := beats[0].Received
	lead := beats[0].Clock
	for i := 1; i < len(beats) && len(problems) < maxProblems; i++ {
		last, b := beats[i-1], beats[i]
		host := b.Received.Sub(start)
		switch {
		case b.Sequence <= last.Sequence:
			problems = append(problems, fmt.Errorf("beat %d came again after beat %d", b.Sequence, last.Sequence))
		case b.Sequence != last.Sequence+1:
			problems = append(problems, fmt.Errorf("the beats between %d and %d are missing", last.Sequence, b.Sequence))
		case b.Ops < last.Ops:
			problems = append(problems, fmt.Errorf("beat %d: operations went back from %d to %d", b.Sequence, last.Ops, b.Ops))
		case b.Clock < last.Clock:
			problems = append(problems, fmt.Errorf("beat %d: the guest's clock went back from %v to %v", b.Sequence, last.Clock, b.Clock))
		case b.Clock-host > lead+slack+host/clockDrift:
			problems = append(problems, fmt.Errorf("beat %d: the guest's clock jumped ahead by %v", b.Sequence, b.Clock-host-lead))
		}
		lead = max(lead, b.Clock-host)
	}
	if len(problems) > 0 {
		return fmt.Errorf("check the heartbeat: %w", errors.Join(problems...))
	}
	return nil
}
