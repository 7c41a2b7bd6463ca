package migrate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/failover"
	"github.com/lazymig/lazymig/internal/vmm"
	"github.com/lazymig/lazymig/internal/wire"
)

// run is the session loop: it turns what happens into events of the state
// machine and does what the machine decides.
func (s *session) run(ctx context.Context) error {
	s.spec = KeeperSpec{
		VM: s.cfg.VM, StateDir: s.cfg.StateDir, Address: s.cfg.Listen, Peer: s.cfg.Peer,
		Session: s.hello.Session, ID: s.hello.VM, Epoch: s.hello.Epoch, Remove: s.leftovers(), Monitor: s.vmm.MonitorPath(), Kind: s.about.Kind, Tag: s.tag,
	}
	s.spec.Key = s.key
	if err := s.tellKeeper(); err != nil {
		return s.close(err)
	}
	err := s.step(failover.EventOffered, "")
	tick := time.NewTicker(progressInterval)
	defer tick.Stop()
	cancelled := ctx.Done()
	for err == nil && !s.driver.Finished() {
		select {
		case f := <-s.frames:
			err = s.receive(f)
		case r := <-s.armed:
			err = s.prepared(r)
		case loadErr := <-s.loaded:
			err = s.deviceLoaded(loadErr)
		case runErr := <-s.ran:
			err = s.guestRan(runErr)
		case endErr := <-s.ended:
			err = s.installerEnded(endErr)
		case <-s.vmmExited():
			err = s.vmmGone()
		case <-s.strayResume():
			s.hasStrayed = true // a record that cannot be written is tried again by the tick
			err = s.fail(vmm.ErrResumedBySomeone)
		case <-s.linkDone():
			err = s.linkLost()
		case a := <-s.links:
			err = s.linkedAgain(a)
		case epoch := <-s.entry.newer:
			if epoch > s.hello.Epoch {
				err = s.step(failover.EventAborted, "the source has begun another migration")
			}
		case <-s.patience:
			err = s.handOver()
		case <-cancelled:
			cancelled = nil
			err = s.step(failover.EventCancelled, "cancelled at the destination")
		case <-tick.C:
			s.progress()
			err = s.reporting("written at last", s.driver.Retry)
		}
		err = errors.Join(s.tolerate(err), s.trouble)
	}
	return s.close(err)
}

// tellKeeper tells the keeper what has changed.
func (s *session) tellKeeper() error {
	if err := s.cfg.Keeper(s.spec); err != nil {
		return fmt.Errorf("tell the keeper: %w", err)
	}
	return nil
}

// step gives an event to the machine and reports the state it leads to.
func (s *session) step(e failover.Event, reason string) error {
	return s.reporting(reason, func() error { return s.driver.Apply(e, reason) })
}

// reporting tells the state that apply leads to.
func (s *session) reporting(reason string, apply func() error) error {
	before := s.driver.State()
	err := apply()
	now := s.driver.State()
	s.entry.note(now)
	if now == before {
		return err
	}
	s.cfg.Report(Event{Event: EventState, State: now.String(), Message: reason})
	if now == failover.StateAbandoned || now == failover.StateRenounced {
		s.patience = time.After(abandonTimeout)
		if s.failure == nil {
			s.failure = errors.New(reason)
		}
	}
	return err
}

// tolerate drops the errors after which the session goes on: the machine has
// refused an event and nothing has changed, or it has given up by itself.
func (s *session) tolerate(err error) error {
	switch {
	case errors.Is(err, failover.ErrStopped), errors.Is(err, failover.ErrConflict):
		return err
	case errors.Is(err, failover.ErrTooLate), errors.Is(err, failover.ErrEpoch), errors.Is(err, failover.ErrNotRecorded):
		s.message(err.Error())
		return nil
	}
	return err
}

func (s *session) fail(err error) error {
	if s.failure == nil {
		s.failure = err
	}
	return s.step(failover.EventFailed, err.Error())
}

// act does what the state machine decided. What goes wrong is kept for the
// session loop.
func (s *session) act(a failover.Action) {
	switch a.Kind {
	case failover.ActionArm:
		s.arm()
	case failover.ActionSendArmed:
		s.tell(s.answer)
	case failover.ActionSendReady:
		s.tell(wire.Ready{Digest: s.digest})
	case failover.ActionSendResumed:
		s.tell(wire.Resumed{Epoch: a.Epoch, Ran: s.about.Running, Pause: s.pause()})
	case failover.ActionSendAbandoned:
		s.tell(wire.Abandoned{Epoch: a.Epoch, Reason: a.Reason})
	case failover.ActionSendRenounced:
		s.tell(wire.Renounced{Epoch: a.Epoch, Reason: a.Reason})
	case failover.ActionSendComplete:
		s.note(s.sendComplete(a.Epoch))
	case failover.ActionRunGuest:
		s.runGuest()
	case failover.ActionKillVMM:
		s.note(s.giveUp())
	case failover.ActionSyncJournal:
		s.note(s.device.sync())
	case failover.ActionFinish, failover.ActionRecord, failover.ActionReconnect, failover.ActionRelease:
		// The loop asks the driver; the driver has recorded; the source dials;
		// the installer has unregistered the memory.
	case failover.ActionFreeze, failover.ActionSendCommit, failover.ActionSendAbort,
		failover.ActionSendReleased, failover.ActionResumeGuest:
		s.note(fmt.Errorf("do %v at the destination: it is not an action of this side", a.Kind))
	}
}

func (s *session) note(err error) { s.trouble = errors.Join(s.trouble, err) }

// tell sends a frame if there is a link. Without one the next link begins with
// both sides' states, from which each learns what it missed.
func (s *session) tell(f appender) {
	if s.link != nil {
		if err := s.control.send(f); err != nil {
			closeLink(s.link, err)
		}
	}
}

// arm prepares the VMM in a goroutine that reports to the session loop.
func (s *session) arm() {
	ctx, cancel := context.WithTimeout(context.Background(), offerTimeout)
	s.arming = cancel
	go func() { s.armed <- s.prepare(ctx) }()
}

// prepared continues with a VMM that is armed, or tells why it is not.
func (s *session) prepared(r armResult) error {
	s.arming()
	s.arming = nil
	if r.err == nil {
		r.err = s.startServing(r)
	}
	if r.err == nil {
		r.err = s.load()
	}
	s.answer = s.verdict(r)
	if r.err != nil {
		s.tell(s.answer)
		return s.fail(r.err)
	}
	s.spec.PID = s.vmm.PID()
	if err := s.tellKeeper(); err != nil {
		return s.fail(err)
	}
	return s.step(failover.EventGuestArmed, "")
}

// load makes the VMM wait for the device state.
func (s *session) load() error {
	ctx, cancel := context.WithTimeout(context.Background(), offerTimeout)
	defer cancel()
	stream, loaded, err := s.vmm.Load(ctx)
	if err != nil {
		return err
	}
	s.loaded = loaded
	s.device, err = startDeviceReceiver(s.path(deviceStateFile), s.key, stream)
	return err
}

// receive deals with a frame of the source.
func (s *session) receive(f inbound) error {
	if f.from != s.control {
		return nil // of a link that died
	}
	if f.end {
		s.link.Close(wire.CodeDone, "done")
		return nil // the loop sees the link end
	}
	err := s.dispatch(f)
	if errors.Is(err, wire.ErrMalformed) || errors.Is(err, failover.ErrUnexpected) {
		closeLink(s.link, err)
		return nil // the loop sees the link die
	}
	return err
}

func (s *session) dispatch(f inbound) error {
	switch f.kind {
	case wire.TypeHotSet:
		frame, err := wire.ParseHotSet(f.payload)
		s.hot = fitting(frame.Pages, s.layout)
		return err
	case wire.TypeDeviceState:
		frame, err := wire.ParseDeviceState(f.payload)
		if err != nil {
			return err
		}
		return s.takeDevice(func() error { return s.device.write(frame.Data) })
	case wire.TypeDeviceEnd:
		frame, err := wire.ParseDeviceEnd(f.payload)
		if err != nil {
			return err
		}
		s.digest = frame.Digest
		return s.takeDevice(func() error { return s.deviceEnded(frame) })
	case wire.TypeCommit:
		frame, err := wire.ParseCommit(f.payload)
		if err != nil {
			return err
		}
		s.committed = time.Now()
		err = s.decided(failover.EventCommitted, frame.Epoch, "")
		if !s.about.Running {
			err = errors.Join(err, s.ensureOwned()) // it stays paused: there is nothing to wait for
		}
		return err
	case wire.TypeAbort:
		frame, err := wire.ParseAbort(f.payload)
		if err != nil {
			return err
		}
		return s.decided(failover.EventAborted, frame.Epoch, frame.Reason)
	case wire.TypeReleased:
		frame, err := wire.ParseReleased(f.payload)
		if err != nil {
			return err
		}
		return s.decided(failover.EventPeerReleased, frame.Epoch, "")
	default:
		return fmt.Errorf("%w: %s", wire.ErrMalformed, f.kind)
	}
}

// decided is a word of the source on an epoch.
func (s *session) decided(e failover.Event, epoch lazymig.Epoch, reason string) error {
	return s.reporting(reason, func() error { return s.driver.ApplyMessage(e, epoch, reason) })
}

// takeDevice passes on a piece of device state if it may come now.
func (s *session) takeDevice(take func() error) error {
	if s.driver.State() != failover.StateArmed {
		return fmt.Errorf("%w: device state in %v", wire.ErrMalformed, s.driver.State())
	}
	if err := take(); err != nil {
		return s.fail(err)
	}
	return nil
}

func (s *session) deviceEnded(frame wire.DeviceEnd) error {
	if err := s.device.end(frame); err != nil {
		return err
	}
	s.isWhole = true
	return s.ready()
}

func (s *session) deviceLoaded(err error) error {
	s.loaded = nil
	if err != nil {
		return s.fail(err)
	}
	s.isLoaded = true
	return s.ready()
}

// ready tells the source that the guest can run here: the VMM has loaded the
// device state, and it is the one that was sent.
func (s *session) ready() error {
	if !s.isLoaded || !s.isWhole {
		return nil
	}
	return s.step(failover.EventStreamLoaded, "")
}
