package migrate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/lazymig/lazymig/failover"
	"github.com/lazymig/lazymig/internal/wire"
)

// migrate runs the session loop: it turns what happens into events of the
// state machine and does what the machine decides.
func (s *sender) migrate(ctx context.Context) error {
	if err := s.begin(ctx); err != nil {
		return s.stop(err)
	}
	s.deadline = time.NewTimer(offerTimeout)
	defer s.deadline.Stop()
	tick := time.NewTicker(progressInterval)
	defer tick.Stop()
	cancelled := ctx.Done()
	for !s.driver.Finished() {
		var err error
		select {
		case f := <-s.frames:
			err = s.receive(f)
		case r := <-s.warmed:
			err = s.finishedWarming(r)
		case r := <-s.frozen:
			err = s.captured(r)
		case at := <-s.guest.Stopped():
			s.deadline.Reset(time.Until(at.Add(s.cfg.ReadyTimeout)))
		case <-s.guest.Still():
			s.server.open()
		case <-s.stirred:
			s.stirred = nil
			err = s.disturbed()
		case <-s.deadline.C:
			err = s.step(failover.EventDeadline, "the destination was not ready in time")
		case <-s.patience:
			err = s.handOver()
		case <-tick.C:
			err = s.reporting("written at last", s.driver.Retry)
		case <-cancelled:
			cancelled = nil
			err = s.step(failover.EventCancelled, "cancelled")
		case <-s.linkDone():
			err = s.linkLost()
		case l := <-s.links:
			err = s.linkedAgain(l)
		case <-s.exited:
			s.exited = nil
			err = s.step(failover.EventVMMDied, "the VMM of the source has ended")
		}
		if err = errors.Join(s.tolerate(err), s.trouble); err != nil {
			return errors.Join(s.stop(err), s.release(ctx))
		}
	}
	s.note(s.release(ctx))
	return s.end()
}

// begin makes everything ready that can be ready before the guest stops, and
// notes that a migration is on its way.
func (s *sender) begin(ctx context.Context) error {
	var err error
	if s.memory, err = s.guest.Memory(ctx); err != nil {
		return err
	}
	s.device, err = os.OpenFile(filepath.Join(s.dir, deviceStateFile), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("keep device state: %w", err)
	}
	s.server = newPageServer(s.layout, s.cfg.memory(s.memory), s.lost, s.key, s.cfg.Bandwidth)
	s.server.keepIn(s.cfg.Cache)
	if err := s.findHotSet(ctx); err != nil {
		s.message(err.Error())
	}
	s.server.attach(s.link)
	s.spec = KeeperSpec{
		Source: true, VM: s.cfg.VM, StateDir: s.cfg.StateDir, PID: s.guest.PID(), Monitor: s.cfg.QMP + s.cfg.MicroVM, Kind: s.about.Kind,
		Address: s.cfg.To, Peer: s.cfg.Peer, Session: s.session, ID: s.id, Epoch: s.epoch,
	}
	s.spec.Key = s.key
	s.exited = s.guest.Exited()
	if err := s.step(failover.EventBegin, ""); err != nil {
		return err
	}
	if err := s.prepare(ctx); err != nil {
		return s.fail(err)
	}
	return s.offer(false)
}

// prepare changes the VMM's settings, once a keeper is there that can put them
// back.
func (s *sender) prepare(ctx context.Context) error {
	if err := s.tellKeeper(); err != nil {
		return err
	}
	if err := s.guest.Prepare(ctx); err != nil {
		return err
	}
	return s.tellKeeper()
}

func (s *sender) tellKeeper() error {
	var err error
	if s.spec.Thaw, err = s.guest.ThawState(); err != nil {
		return fmt.Errorf("tell the keeper: %w", err)
	}
	if err := s.cfg.Keeper(s.spec); err != nil {
		return fmt.Errorf("tell the keeper: %w", err)
	}
	return nil
}

// armed freezes the guest, for which the destination waits.
func (s *sender) armed() error {
	if s.driver.State() != failover.StatePreparing {
		return nil // it was aborted while the cache was warmed
	}
	s.deadline.Reset(captureTimeout)
	return s.step(failover.EventPeerArmed, "")
}

// step gives an event to the machine and reports the state it leads to.
func (s *sender) step(e failover.Event, reason string) error {
	return s.reporting(reason, func() error { return s.driver.Apply(e, reason) })
}

// reporting tells the state that apply leads to, and acts on an abort.
func (s *sender) reporting(reason string, apply func() error) error {
	before := s.driver.State()
	err := apply()
	now := s.driver.State()
	if now == before {
		return err
	}
	s.cfg.Report(Event{Event: EventState, State: now.String(), Message: reason})
	if now == failover.StateRunning {
		s.patience = time.After(abandonTimeout)
		if s.failure == nil {
			s.failure = errors.New(reason)
		}
	}
	return err
}

// tolerate drops the errors after which the session goes on: the machine has
// refused an event and nothing has changed, or it has aborted by itself.
func (s *sender) tolerate(err error) error {
	switch {
	case errors.Is(err, failover.ErrStopped), errors.Is(err, failover.ErrConflict):
		return err
	case errors.Is(err, failover.ErrTooLate), errors.Is(err, failover.ErrEpoch), errors.Is(err, failover.ErrNotRecorded):
		s.message(err.Error())
		return nil
	}
	return err
}

// fail aborts because of err, if that is still possible.
func (s *sender) fail(err error) error {
	if s.failure == nil {
		s.failure = err
	}
	return s.step(failover.EventFailed, err.Error())
}

// receive deals with a frame of the destination.
func (s *sender) receive(f inbound) error {
	if f.from != s.control {
		return nil // of a link that died
	}
	if f.end {
		s.link.Close(wire.CodeDone, "done")
		return nil // the loop sees the link end
	}
	err := s.handle(f)
	if errors.Is(err, wire.ErrMalformed) || errors.Is(err, failover.ErrUnexpected) {
		closeLink(s.link, err)
		return nil // the loop sees the link die
	}
	return err
}

func (s *sender) handle(f inbound) error {
	switch f.kind {
	case wire.TypeVerdict:
		if s.hasVerdict {
			return fmt.Errorf("%w: a second verdict", wire.ErrMalformed)
		}
		s.hasVerdict = true
		if err := s.verdict(f.payload); err != nil {
			return s.fail(err)
		}
		if s.cfg.Warm.For > 0 {
			s.deadline.Stop()
			s.startWarming()
			return nil
		}
		return s.armed()
	case wire.TypeReady:
		return s.ready(f.payload)
	case wire.TypeResumed:
		return s.resumed(f.payload)
	case wire.TypeAbandoned:
		frame, err := wire.ParseAbandoned(f.payload)
		if err != nil {
			return err
		}
		return s.gaveUp(failover.EventPeerAbandoned, frame.Epoch, frame.Reason)
	case wire.TypeRenounced:
		frame, err := wire.ParseRenounced(f.payload)
		if err != nil {
			return err
		}
		return s.gaveUp(failover.EventRenounced, frame.Epoch, frame.Reason)
	case wire.TypeComplete:
		return s.complete(f.payload)
	case wire.TypeProgress:
		return s.progress(f.payload)
	default:
		return fmt.Errorf("%w: %s", wire.ErrMalformed, f.kind)
	}
}
