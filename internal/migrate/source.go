package migrate

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/failover"
	"github.com/lazymig/lazymig/internal/vmm"
	"github.com/lazymig/lazymig/internal/wire"
	"github.com/lazymig/lazymig/pagecache"
	"github.com/lazymig/lazymig/quictransport"
)

// sender is the source's side of one migration. Its session loop, in
// sourceloop.go, owns everything but the channels.
type sender struct {
	cfg   SendConfig
	dir   string
	start time.Time

	guest  sourceVMM
	about  vmm.Description
	layout lazymig.Layout
	memory guestMemory
	lost   *poisonList
	device *os.File

	id      lazymig.VMID
	epoch   lazymig.Epoch
	session [16]byte
	journal *failover.Journal
	driver  *failover.Driver
	key     pagecache.Key
	spec    KeeperSpec

	link    *quictransport.Link
	control *control
	server  *pageServer
	hot     []lazymig.HotPage // what the guest touched first last time
	frames  chan inbound
	links   chan linked
	frozen  chan freezeResult
	warmed  chan warmed
	cool    context.CancelFunc // ends the warming that is under way
	freeze  context.CancelFunc // ends the capture that is under way
	digest  [32]byte           // of the device state
	loaded  *[32]byte          // what the destination says that it is
	stirred <-chan struct{}    // somebody has let the frozen VMM run
	unwatch func()             // ends stirred; nil before there is one
	stopped vmm.Frozen
	exited  <-chan struct{} // of the VMM, until it was seen

	deadline   *time.Timer // of the verdict, the capture, then READY
	redial     context.CancelFunc
	hasVerdict bool
	ended      time.Time                       // when the destination needed nothing more
	released   bool                            // the destination needs nothing more
	handedOver bool                            // to the keeper
	past       struct{ sent, received uint64 } // over links that died

	report   Report
	failure  error // why it was aborted
	trouble  error // of an action, which cannot return it
	patience <-chan time.Time
}

// linked is the end of an attempt to link again: the link and what the other
// side announced of itself, or an error.
type linked struct {
	link     *quictransport.Link
	state    failover.State
	epoch    lazymig.Epoch
	listener *quictransport.Listener // of a keeper that accepted the link
	err      error
}

// freezeResult is the end of a capture.
type freezeResult struct {
	frozen vmm.Frozen
	digest [32]byte
	err    error
}

// Send moves the guest behind cfg.QMP to the destination and returns when the
// guest needs this host no more, or when it goes on here. The report's Outcome
// says which; the error says why, if it was not "done". Cancelling ctx aborts
// before the commit and has no effect after it.
func Send(ctx context.Context, cfg SendConfig) (Report, error) {
	cfg, err := cfg.validated()
	if err != nil {
		return Report{}, err
	}
	s := &sender{
		cfg: cfg, start: time.Now(),
		frames: make(chan inbound, eventQueue), links: make(chan linked, 1), frozen: make(chan freezeResult, 1), warmed: make(chan warmed, 1),
		report: Report{VM: cfg.VM, Outcome: OutcomeAborted},
	}
	err = s.run(ctx)
	if s.ended.IsZero() {
		s.ended = time.Now()
	}
	s.report.TotalMS, s.report.CPUSeconds = milliseconds(s.ended.Sub(s.start)), cpuSeconds()
	if err != nil {
		s.report.Reason = err.Error()
	}
	cfg.Report(Event{Event: EventReport, Report: &s.report})
	return s.report, err
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func (s *sender) run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.open(ctx); err != nil {
		return err
	}
	checks, err := s.guest.Preflight(ctx)
	if err != nil {
		return fmt.Errorf("check the guest: %w", err)
	}
	refused := reportChecks(s.cfg.Report, "source", checks)
	if refused != nil && !s.cfg.DryRun {
		return refused
	}
	if err := s.connect(ctx); err != nil {
		return errors.Join(refused, err)
	}
	if s.cfg.DryRun {
		return errors.Join(refused, s.rehearse(ctx))
	}
	return s.migrate(ctx)
}

// open looks at the guest and at what is known of it, and changes nothing.
func (s *sender) open(ctx context.Context) (err error) {
	if s.dir, err = makeVMDir(s.cfg.StateDir, s.cfg.VM); err != nil {
		return err
	}
	if s.journal, err = failover.OpenJournal(s.dir); err != nil {
		return err
	}
	if s.guest, err = s.cfg.attach(ctx); err != nil {
		return err
	}
	if s.about, err = s.guest.Describe(ctx); err != nil {
		return fmt.Errorf("look at the guest: %w", err)
	}
	s.layout = s.about.Layout
	s.report.PagesTotal = s.layout.Pages()
	if s.lost, err = openPoisonList(filepath.Join(s.dir, poisonedFile), s.layout); err != nil {
		return err
	}
	return s.identify()
}

// identify finds the VM's identity and the epoch of this attempt.
func (s *sender) identify() error {
	records := s.journal.Records()
	if err := failover.CheckSend(records); err != nil {
		return err
	}
	var known bool
	if s.id, known = failover.Identity(records); !known {
		s.id = failover.NewIdentity()
	}
	s.epoch = failover.NextEpoch(records)
	s.report.Epoch = s.epoch
	machine := failover.NewSource(s.id, s.epoch, s.about.Running, s.cfg.To)
	s.driver = failover.NewDriver(machine, s.journal, s.act)
	_, err := rand.Read(s.session[:])
	return err
}

// hello is what a link to the destination begins with.
func (s *sender) hello() wire.Hello {
	state, epoch := s.driver.Announce()
	return wire.Hello{State: uint8(state), Epoch: epoch, VM: s.id, Session: s.session, Name: s.cfg.VM}
}

func (s *sender) transport() quictransport.Config {
	return quictransport.Config{Peer: s.cfg.Peer}
}

func (s *sender) connect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	link, welcome, err := quictransport.DialLink(ctx, s.cfg.To, s.cfg.Identity, s.transport(), s.hello())
	if err != nil {
		return err
	}
	s.key = pagecache.Key(s.cfg.Identity.DomainKey)
	if s.cfg.Identity.Insecure {
		s.key = pagecache.Key(welcome.DomainKey)
		if s.cfg.Cache != nil && welcome.DomainKey != s.cfg.Identity.DomainKey {
			s.message("goes without the cache of this host: the destination has another --cache-key")
			s.cfg.Cache = nil
		}
	}
	s.attach(link)
	return nil
}

// attach takes over a new link.
func (s *sender) attach(link *quictransport.Link) {
	s.link = link
	s.control = startControl(link, s.frames, wire.TypeVerdict, wire.TypeReady, wire.TypeResumed,
		wire.TypeAbandoned, wire.TypeRenounced, wire.TypeComplete, wire.TypeProgress)
	if s.server != nil {
		s.server.attach(link)
	}
}

// offer sends the guest's description.
func (s *sender) offer(dryRun bool) error {
	document, err := json.Marshal(s.about)
	if err != nil {
		return fmt.Errorf("describe the guest: %w", err)
	}
	s.tell(wire.Offer{DryRun: dryRun, Document: document})
	if len(s.hot) > 0 {
		s.tell(wire.HotSet{Pages: s.hot})
	}
	return nil
}

// findHotSet looks up what the guest touched first last time, what the load of
// its devices reads, and what it is likely to touch by its registers.
func (s *sender) findHotSet(ctx context.Context) error {
	known, err := readHotSet(filepath.Join(s.dir, hotSetFile), s.layout)
	rings, problem := s.guest.Rings(ctx)
	likely, unlikely := s.guest.Likely(ctx, maxLikelyPages)
	s.hot = fitting(withLikely(withRings(rings, s.epoch, known), likely), s.layout)
	for _, p := range s.hot {
		s.server.hot = append(s.server.hot, lazymig.Run{First: p.Page, Count: 1})
	}
	return errors.Join(err, problem, unlikely)
}

// rehearse asks the destination for its checks and moves nothing.
func (s *sender) rehearse(ctx context.Context) error {
	if err := s.offer(true); err != nil {
		return err
	}
	timeout := time.After(offerTimeout)
	for {
		select {
		case f := <-s.frames:
			if f.kind != wire.TypeVerdict {
				return fmt.Errorf("wait for the destination's checks: %w: %s", wire.ErrUnexpected, f.kind)
			}
			if err := s.verdict(f.payload); err != nil {
				return err
			}
			s.report.Outcome = OutcomeChecked
			return nil
		case <-s.link.Done():
			return s.link.Err()
		case <-timeout:
			return fmt.Errorf("wait for the destination's checks: no answer in %v", offerTimeout)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// verdict reports the destination's checks and returns an error if it refuses.
func (s *sender) verdict(payload []byte) error {
	v, err := wire.ParseVerdict(payload)
	if err != nil {
		return err
	}
	var checks []vmm.Check
	if err := json.Unmarshal(v.Document, &checks); err != nil {
		return fmt.Errorf("read the destination's checks: %w", err)
	}
	err = reportChecks(s.cfg.Report, "destination", checks)
	if err == nil && !v.OK {
		err = errors.New("the destination cannot take the guest and gave no reason")
	}
	return err
}

// close releases everything that the sender holds. The guest is left as it is.
func (s *sender) close() error {
	var errs []error
	if s.freeze != nil {
		s.freeze()
	}
	if s.cool != nil {
		s.cool()
		<-s.warmed
	}
	if s.redial != nil {
		s.redial()
		if l := <-s.links; l.link != nil {
			l.link.Close(wire.CodeDone, "the session is over")
		}
	}
	if s.link != nil {
		s.control.finish()
	}
	if s.server != nil {
		s.server.close()
	}
	if s.memory != nil {
		errs = append(errs, s.memory.Close())
	}
	if s.device != nil {
		errs = append(errs, s.device.Close())
	}
	if s.unwatch != nil {
		s.unwatch()
	}
	if s.guest != nil {
		errs = append(errs, s.guest.Close())
	}
	if s.journal != nil {
		errs = append(errs, s.journal.Close())
	}
	return errors.Join(errs...)
}
