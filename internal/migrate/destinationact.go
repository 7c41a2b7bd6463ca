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
)

// runGuest runs the guest in a goroutine that reports to the session loop. It
// has no deadline: the VMM's main loop may wait for a page while the link is
// down, and a guest that may have run is never given back.
func (s *session) runGuest() {
	go func() { s.ran <- s.vmm.Run(context.Background()) }()
}

// guestRan notes that the guest runs here, or that it cannot. Where that is
// unknown it counts as running: nobody else may run it then.
func (s *session) guestRan(err error) error {
	if err == nil {
		return s.ensureOwned()
	}
	if !errors.Is(err, vmm.ErrMayHaveRun) {
		s.failure = err
		return s.step(failover.EventRunFailed, err.Error())
	}
	select {
	case <-s.vmm.Exited():
		return nil // the loop deals with that
	case <-s.vmm.Resumed():
	case <-time.After(exitGrace):
		s.message(fmt.Sprintf("it is not known whether the guest runs: %v", err))
	}
	return s.ensureOwned()
}

// owned starts the background and tells the network and the source.
func (s *session) owned() error {
	s.ownsGuest = true
	s.report.Outcome = OutcomePending
	s.report.ResumedAt = s.vmm.ResumedAt()
	s.installer.start()
	if s.about.Running && !s.isGone {
		s.announce()
	}
	return s.step(failover.EventGuestRan, "")
}

// ensureOwned does what owned does, once, for a guest that the destination has
// been given.
func (s *session) ensureOwned() error {
	if s.ownsGuest || s.driver.State() != failover.StateOwner {
		return nil
	}
	return s.owned()
}

// announce tells the network where the guest is now. Nothing depends on it.
func (s *session) announce() {
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), offerTimeout)
		defer cancel()
		if err := s.vmm.Announce(ctx); err != nil {
			s.message(fmt.Sprintf("the guest's address was not announced: %v", err))
		}
	}()
}

// pause is the time from COMMIT to now, in microseconds.
func (s *session) pause() uint32 {
	if s.committed.IsZero() {
		return 0
	}
	return uint32(min(time.Since(s.committed).Microseconds(), 1<<32-1))
}

// installerEnded notes that every page is in, or that pages cannot be
// installed any more.
func (s *session) installerEnded(err error) error {
	if err == nil {
		s.reportMap()
		return s.step(failover.EventAllInstalled, "")
	}
	if s.isGone {
		return nil // it was stopped with the VMM
	}
	select {
	case <-s.vmm.Exited():
		return nil // the loop deals with that
	case <-time.After(exitGrace):
	}
	if s.ownsGuest {
		s.report.Outcome = OutcomeStopped
		return fmt.Errorf("install pages: %w; the guest stalls on the pages that are missing", err)
	}
	return s.fail(err)
}

func (s *session) vmmExited() <-chan struct{} {
	if s.arming != nil || s.isGone {
		return nil // whoever prepares it tells
	}
	return s.vmm.Exited()
}

// strayResume tells that somebody else lets the guest run before it is decided
// that it runs here. It is killed then.
func (s *session) strayResume() <-chan struct{} {
	state := s.driver.State()
	if s.hasStrayed || s.arming != nil || s.isGone || state != failover.StateArmed && state != failover.StateLoaded {
		return nil
	}
	return s.vmm.Resumed()
}

// vmmGone deals with a VMM that has ended: a guest that was powered off, or a
// failure.
func (s *session) vmmGone() error {
	s.isGone = true
	select {
	case <-s.vmm.Resumed():
		if err := s.ensureOwned(); err != nil {
			return err
		}
	default:
	}
	reason, powerOff := s.vmm.Shutdown()
	if powerOff {
		reason = "the guest was shut down: " + reason
	} else {
		reason = "the VMM of the destination has ended: " + reason
	}
	if s.failure == nil && !powerOff {
		s.failure = errors.New(reason)
	}
	s.report.Reason = reason
	return s.step(failover.EventVMMDied, reason)
}

// giveUp kills the VMM and removes what was made for it.
func (s *session) giveUp() error {
	if s.arming != nil {
		s.arming()
		s.arming = nil
		if r := <-s.armed; r.handle != nil {
			_ = r.handle.Close()
		}
	}
	s.isGone = true
	return s.discard()
}

// sendComplete tells the source that it is needed no more, and for how long
// its answer is worth waiting for.
func (s *session) sendComplete(epoch lazymig.Epoch) error {
	if s.failure == nil {
		s.report.Outcome = OutcomeDone
	} else {
		s.report.Outcome = OutcomeStopped // the VMM has ended, and not because the guest wanted it
		s.report.Reason = s.failure.Error()
	}
	document, err := json.Marshal(s.count())
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	s.tell(wire.Complete{Epoch: epoch, Document: document})
	s.patience = time.After(releaseTimeout)
	if s.link == nil {
		s.patience = time.After(notifyTimeout)
	}
	return nil
}

// handOver stops waiting for the source. What it must still learn of a guest
// that was given back, the keeper tells it.
func (s *session) handOver() error {
	s.handedOver = s.driver.State() == failover.StateRenounced
	return s.step(failover.EventGiveUp, "the source did not acknowledge")
}

// count brings the report up to date.
func (s *session) count() Report {
	s.counters.fill(&s.report)
	if s.link != nil {
		s.report.BytesSent, s.report.BytesReceived = s.bytes()
	}
	return s.report
}

// bytes returns how much went over all links.
func (s *session) bytes() (sent, received uint64) {
	sent, received = s.past.sent, s.past.received
	if s.link != nil {
		sent, received = sent+s.link.BytesSent(), received+s.link.BytesReceived()
	}
	return sent, received
}

// progress tells both sides how far it is.
func (s *session) progress() {
	if s.installer == nil {
		return
	}
	p := s.counters.progress(s.layout.Pages())
	p.BytesSent, p.BytesReceived = s.bytes()
	if s.cfg.FaultWaits {
		p.Waits = s.counters.waits()
	}
	s.cfg.Report(Event{Event: EventProgress, State: s.driver.State().String(), Progress: &p})
	s.reportMap()
	if s.ownsGuest {
		s.tell(wire.Progress{
			Zero: p.Zero, Demand: p.Demand, Bulk: p.Bulk, Cache: p.Cache, Discarded: p.Discarded, Poisoned: p.Poisoned,
			Total: p.Total, FaultP50: uint32(p.FaultP50), FaultP99: uint32(p.FaultP99),
		})
	}
}

// reportMap tells where the pages came from, if anybody wants to know.
func (s *session) reportMap() {
	if cells := s.installer.cells; cells != nil {
		s.cfg.Report(Event{Event: EventMap, Map: cells.pageMap()})
	}
}

func (s *session) linkDone() <-chan struct{} {
	if s.link == nil {
		return nil
	}
	return s.link.Done()
}

// linkLost puts a dead link away. Behind READY the guest waits for the next
// one.
func (s *session) linkLost() error {
	s.control.stop()
	for len(s.frames) > 0 {
		if err := s.tolerate(s.receive(<-s.frames)); err != nil {
			return err
		}
	}
	reason := fmt.Sprintf("lost the link: %v", s.link.Err())
	s.unlink()
	if s.driver.State() == failover.StateComplete {
		s.patience = time.After(notifyTimeout)
	}
	if s.driver.Finished() {
		return nil
	}
	return s.step(failover.EventPeerLost, reason)
}

// unlink puts a link away and remembers what went over it.
func (s *session) unlink() {
	s.past.sent += s.link.BytesSent()
	s.past.received += s.link.BytesReceived()
	if s.installer != nil {
		s.installer.use(nil)
	}
	s.control.stop()
	if s.fetcher != nil {
		s.fetcher.stop()
		s.fetcher = nil
	}
	s.link = nil
}

// linkedAgain takes over a new link of the same session and what the source
// says of itself.
func (s *session) linkedAgain(a arrival) error {
	if a.hello.Session != s.hello.Session {
		a.link.Close(wire.CodeBusy, "this destination works on another migration")
		return nil
	}
	if s.link != nil {
		s.link.Close(wire.CodeReplaced, "replaced by a new link")
		s.unlink()
	}
	s.link = a.link
	s.control = startControl(a.link, s.frames, wire.TypeDeviceState, wire.TypeDeviceEnd,
		wire.TypeCommit, wire.TypeAbort, wire.TypeReleased)
	s.counters.count(&s.counters.reconnects, 1)
	if s.installer != nil && !s.isGone {
		s.fetch()
	}
	s.message("the link is up again")
	reason := fmt.Sprintf("the link is back, the source is %v", failover.State(a.hello.State))
	return s.reporting(reason, func() error {
		return s.driver.Reconnected(failover.State(a.hello.State), a.hello.Epoch)
	})
}

// leftovers are the files that are made for the VMM.
func (s *session) leftovers() []string {
	files := s.vmm.RAMFiles()
	return append(files, files[0]+".pages", s.path(deviceStateFile))
}

// removeEnded removes the memory of a guest that was shut down meanwhile.
func (s *session) removeEnded() error {
	select {
	case <-s.vmm.Exited():
		return s.vmm.Remove()
	default:
		return nil
	}
}

// close ends the session. The VMM is left as it is.
func (s *session) close(err error) error {
	s.count()
	in := s.installer
	s.stopServing(errors.New("the session is over"))
	s.keepHotSet(in)
	if s.link != nil {
		s.control.finish()
		s.unlink()
	}
	state := s.driver.State()
	gone := state == failover.StateComplete || state == failover.StateAbandoned || state == failover.StateRenounced
	over := s.driver.Finished()
	errs := []error{err, s.removeEnded(), s.vmm.Detach()}
	if s.pages != nil {
		errs = append(errs, s.pages.close(gone))
	}
	if gone {
		if err := os.Remove(s.path(deviceStateFile)); !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if state != failover.StateComplete || s.report.Outcome == OutcomeStopped {
		errs = append(errs, s.failure)
	}
	if over && !s.handedOver {
		s.spec.Done = true
		errs = append(errs, s.tellKeeper())
	}
	if s.driver.Stopped() {
		s.report.Outcome = OutcomeStopped
	}
	return errors.Join(errs...)
}
