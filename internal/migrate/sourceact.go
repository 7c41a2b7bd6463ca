package migrate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/failover"
	"github.com/lazymig/lazymig/internal/vmm"
	"github.com/lazymig/lazymig/internal/wire"
	"github.com/lazymig/lazymig/quictransport"
)

// act does what the state machine decided. What goes wrong is kept for the
// session loop.
func (s *sender) act(a failover.Action) {
	switch a.Kind {
	case failover.ActionFreeze:
		s.note(s.startFreeze())
	case failover.ActionSendCommit:
		s.tell(wire.Commit{Epoch: a.Epoch})
		time.AfterFunc(resumeTime, s.server.cede)
	case failover.ActionSendAbort:
		s.tell(wire.Abort{Epoch: a.Epoch, Reason: a.Reason})
	case failover.ActionSendReleased:
		s.tell(wire.Released{Epoch: a.Epoch})
	case failover.ActionResumeGuest:
		s.note(s.takeBack())
	case failover.ActionKillVMM:
		s.note(s.killVMM())
	case failover.ActionReconnect:
		s.reconnect()
	case failover.ActionRelease:
		s.released = true
	case failover.ActionSyncJournal:
		s.note(s.device.Sync())
	case failover.ActionFinish, failover.ActionRecord:
		// The loop asks the driver; the driver has recorded.
	case failover.ActionArm, failover.ActionSendArmed, failover.ActionSendReady, failover.ActionSendResumed,
		failover.ActionSendAbandoned, failover.ActionSendRenounced, failover.ActionSendComplete, failover.ActionRunGuest:
		s.note(fmt.Errorf("do %v at the source: it is not an action of this side", a.Kind))
	}
}

func (s *sender) note(err error) { s.trouble = errors.Join(s.trouble, err) }

// tell sends a frame if there is a link. Without one the next link begins with
// both sides' states, from which each learns what it missed.
func (s *sender) tell(f appender) {
	if s.link == nil {
		return
	}
	if err := s.control.send(f); err != nil {
		closeLink(s.link, err)
	}
}

// startFreeze stops the guest and sends its device state, in a goroutine that
// reports to the session loop.
func (s *sender) startFreeze() error {
	stream, err := newDeviceSender(s.control, s.device, s.key)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), captureTimeout)
	s.freeze = cancel
	go func() {
		frozen, err := s.guest.Freeze(ctx, stream)
		r := freezeResult{frozen: frozen, err: err}
		if err == nil {
			r.digest = stream.end().Digest // nobody writes any more
		}
		s.frozen <- r
	}()
	return nil
}

// captured notes that the guest stands still and its device state is sent.
func (s *sender) captured(r freezeResult) error {
	s.freeze()
	s.freeze = nil
	if errors.Is(r.err, vmm.ErrResumedBySomeone) {
		s.failure = r.err
		return s.step(failover.EventGuestResumedBySomeone, r.err.Error())
	}
	if r.err != nil {
		return s.fail(r.err)
	}
	if r.frozen.WasRunning != s.about.Running {
		return s.fail(errOtherRunState)
	}
	s.digest, s.stopped = r.digest, r.frozen
	if s.loaded != nil && *s.loaded != s.digest {
		return s.fail(errOtherState)
	}
	if !r.frozen.WasRunning {
		s.deadline.Reset(s.cfg.ReadyTimeout)
	}
	s.stirred, s.unwatch = s.guest.WatchResume()
	return s.step(failover.EventGuestFrozen, "")
}

// errOtherRunState aborts a migration whose destination would run a guest that
// is paused, or pause one that runs.
var errOtherRunState = errors.New("somebody else stopped the guest or let it run during the preparation")

// errOtherState aborts a migration whose destination has loaded other bytes.
var errOtherState = fmt.Errorf("%w: the destination loaded something else", ErrDeviceState)

// disturbed notes that somebody let the frozen guest run.
func (s *sender) disturbed() error {
	if s.driver.State() == failover.StateRunning {
		return nil // that was us
	}
	return s.step(failover.EventGuestResumedBySomeone, vmm.ErrResumedBySomeone.Error())
}

func (s *sender) ready(payload []byte) error {
	frame, err := wire.ParseReady(payload)
	if err != nil {
		return err
	}
	s.loaded = &frame.Digest
	if s.freeze == nil && frame.Digest != s.digest {
		return s.fail(errOtherState)
	}
	return s.step(failover.EventPeerReady, "")
}

// resumed notes that the guest runs at the destination.
func (s *sender) resumed(payload []byte) error {
	arrived := time.Now()
	frame, err := wire.ParseResumed(payload)
	if err != nil {
		return err
	}
	err = s.word(failover.EventResumed, frame.Epoch, "")
	if !taken(err) || s.driver.State() != failover.StateCeded {
		return err // it says what cannot be, or what is known
	}
	if s.stopped.WasRunning && s.report.StoppedMS == 0 {
		_, rtt := s.link.RTT()
		s.report.StoppedMS = milliseconds(arrived.Sub(s.stopped.Stopped) - rtt/2)
		s.report.StoppedErrorMS = milliseconds(rtt / 2)
		s.report.StoppedAt = s.stopped.Stopped
	}
	s.report.Outcome = OutcomePending
	return err
}

// taken reports whether the machine has taken a word, or will once its record
// can be written.
func taken(err error) bool { return err == nil || errors.Is(err, failover.ErrNotRecorded) }

// word is a word of the destination on an epoch.
func (s *sender) word(e failover.Event, epoch lazymig.Epoch, reason string) error {
	return s.reporting(reason, func() error { return s.driver.ApplyMessage(e, epoch, reason) })
}

// gaveUp notes that the destination does not take the guest.
func (s *sender) gaveUp(e failover.Event, epoch lazymig.Epoch, reason string) error {
	if s.failure == nil {
		s.failure = fmt.Errorf("the destination gave up: %s", reason)
	}
	return s.word(e, epoch, reason)
}

// complete takes over the destination's counts and lets the guest go.
func (s *sender) complete(payload []byte) error {
	frame, err := wire.ParseComplete(payload)
	if err != nil {
		return err
	}
	theirs := Report{}
	if err := json.Unmarshal(frame.Document, &theirs); err != nil {
		return fmt.Errorf("%w: report of the destination: %w", wire.ErrMalformed, err)
	}
	err = s.word(failover.EventPeerComplete, frame.Epoch, theirs.Reason)
	if !taken(err) {
		return err // a report of what was not moved is none
	}
	ours := s.report
	s.report = theirs
	s.report.VM, s.report.StoppedMS, s.report.StoppedErrorMS = ours.VM, ours.StoppedMS, ours.StoppedErrorMS
	s.report.StoppedAt = ours.StoppedAt
	s.report.PagesWarmed, s.report.WarmMS = ours.PagesWarmed, ours.WarmMS
	s.report.BytesSent, s.report.BytesReceived = s.past.sent+s.link.BytesSent(), s.past.received+s.link.BytesReceived()
	s.report.Outcome = OutcomeDone
	return err
}

func (s *sender) progress(payload []byte) error {
	f, err := wire.ParseProgress(payload)
	if err != nil {
		return err
	}
	s.cfg.Report(Event{Event: EventProgress, State: s.driver.State().String(), Progress: &Progress{
		Total: f.Total, Zero: f.Zero, Cache: f.Cache, Demand: f.Demand, Bulk: f.Bulk,
		Discarded: f.Discarded, Poisoned: f.Poisoned, FaultP50: int64(f.FaultP50), FaultP99: int64(f.FaultP99),
		BytesSent: s.past.sent + s.link.BytesSent(), BytesReceived: s.past.received + s.link.BytesReceived(),
		Reconnects: s.report.Reconnects, StoppedMS: s.report.StoppedMS,
	}})
	return nil
}

// takeBack lets the guest go on here.
func (s *sender) takeBack() error {
	s.server.thaw()
	if s.freeze != nil {
		s.freeze()
		<-s.frozen
		s.freeze = nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), rollbackTimeout)
	defer cancel()
	if err := s.guest.Thaw(ctx); err != nil {
		return fmt.Errorf("let the guest go on at the source: %w", err)
	}
	return nil
}

func (s *sender) killVMM() error {
	ctx, cancel := context.WithTimeout(context.Background(), killTimeout)
	defer cancel()
	return s.guest.Kill(ctx)
}

// release gives up what the destination needs no more, once the guest's pages
// are in this host's cache.
func (s *sender) release(ctx context.Context) error {
	if !s.released {
		return nil
	}
	s.ended = time.Now()
	if s.cfg.Cache != nil && s.report.Outcome == OutcomeDone {
		s.finishKeeping(ctx)
	}
	s.server.thaw()
	if !s.cfg.KeepRAM {
		if err := s.memory.Unlink(); err != nil {
			s.message(fmt.Sprintf("the RAM file stays: %v", err))
		}
	}
	return os.Remove(s.device.Name())
}

// finishKeeping waits until the guest's pages are in this host's cache.
func (s *sender) finishKeeping(ctx context.Context) {
	select {
	case <-s.server.keeping:
		return
	default:
		s.message("keeping the guest's pages in the cache of this host")
	}
	if !s.server.cooking.Load() { // the last link has died too early
		s.server.keepAlone()
	}
	select {
	case <-s.server.keeping:
	case <-ctx.Done():
	case <-time.After(keepTimeout):
		s.message("not all of the guest's pages are in the cache of this host: it took too long")
	}
	if s.server.kept.hangs.Load() {
		s.message("not all of the guest's pages are in the cache of this host: its storage does not answer")
	}
}

func (s *sender) message(text string) { s.cfg.Report(Event{Event: EventMessage, Message: text}) }

// linkDone is closed when the link dies; it blocks for ever without a link.
func (s *sender) linkDone() <-chan struct{} {
	if s.link == nil {
		return nil
	}
	return s.link.Done()
}

// linkLost puts a dead link away, after the last frames that came over it.
func (s *sender) linkLost() error {
	s.control.stop()
	for len(s.frames) > 0 {
		if err := s.tolerate(s.receive(<-s.frames)); err != nil {
			return err
		}
	}
	reason := fmt.Sprintf("lost the link: %v", s.link.Err())
	s.past.sent += s.link.BytesSent()
	s.past.received += s.link.BytesReceived()
	s.link, s.control = nil, nil
	if s.driver.Finished() {
		return nil
	}
	if s.failure == nil && s.driver.State() < failover.StateCeded {
		s.failure = errors.New(reason)
	}
	return s.step(failover.EventPeerLost, reason)
}

// reconnect dials until there is a link again. The session loop hears of it.
func (s *sender) reconnect() {
	if s.redial != nil || s.link != nil {
		return // a link that has died is noticed by the loop
	}
	s.message("the link is down; trying again")
	ctx, cancel := context.WithCancel(context.Background())
	s.redial = cancel
	dialer := quictransport.Redialer{Addr: s.cfg.To, Identity: s.cfg.Identity, Config: s.transport()}
	hello := s.hello()
	go func() {
		link, welcome, err := dialer.Dial(ctx, hello)
		s.links <- linked{link: link, state: failover.State(welcome.State), epoch: welcome.Epoch, err: err}
	}()
}

// linkedAgain takes over a new link and what the destination says of itself.
func (s *sender) linkedAgain(l linked) error {
	s.redial()
	s.redial = nil
	if l.err != nil {
		return s.unreachable(l.err)
	}
	s.attach(l.link)
	s.report.Reconnects++
	s.message("the link is up again")
	reason := fmt.Sprintf("the link is back, the destination is %v", l.state)
	return s.reporting(reason, func() error {
		return s.driver.Reconnected(l.state, l.epoch)
	})
}

// unreachable deals with a destination that does not know this session. Before
// the commit that is as good as its word that it has given up: it keeps no
// guest of a session that it does not know.
func (s *sender) unreachable(err error) error {
	if s.driver.State() == failover.StateRunning && knowsNothing(err) {
		return s.step(failover.EventPeerAbandoned, "the destination knows nothing of this migration")
	}
	return fmt.Errorf("reach the destination again: %w", err)
}

// handOver leaves it to the keeper to tell the destination of the abort.
func (s *sender) handOver() error {
	s.spec.Notify = true
	if err := s.tellKeeper(); err != nil {
		return err
	}
	s.handedOver = true
	return s.step(failover.EventGiveUp, "the destination did not answer; the keeper goes on telling it")
}

// end is the outcome of a session whose machine has finished.
func (s *sender) end() error {
	if !s.handedOver {
		s.spec.Done = true
		s.note(s.tellKeeper())
	}
	if s.driver.State() == failover.StateReleased {
		if s.report.Outcome == OutcomeStopped {
			return errors.Join(fmt.Errorf("the guest was lost at the destination: %s", s.report.Reason), s.trouble)
		}
		return s.trouble
	}
	return errors.Join(s.failure, s.trouble)
}

// stop ends the session loop on an error that the machine cannot deal with.
// The guest is as the journal says; the keeper or a person goes on from there.
func (s *sender) stop(err error) error {
	if s.driver.State() == failover.StateCeded || s.driver.Stopped() {
		s.report.Outcome = OutcomeStopped
	}
	return errors.Join(s.failure, err)
}
