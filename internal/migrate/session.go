package migrate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/failover"
	"github.com/lazymig/lazymig/internal/vmm"
	"github.com/lazymig/lazymig/internal/wire"
	"github.com/lazymig/lazymig/prefetch"
	"github.com/lazymig/lazymig/quictransport"
	"github.com/lazymig/lazymig/uffd"
)

// session is one attempt to take a guest.
type session struct {
	*receiver
	hello  wire.Hello
	about  vmm.Description // of the source's guest
	layout lazymig.Layout
	driver *failover.Driver
	spec   KeeperSpec

	link    *quictransport.Link
	control *control
	frames  chan inbound

	vmm       destinationVMM
	arming    context.CancelFunc // ends the preparation that is under way
	armed     chan armResult
	handle    *uffd.Handle
	reader    *uffd.Reader
	pages     *pageMap
	installer *installer
	counters  *counters
	fetcher   *fetcher
	hot       []lazymig.HotPage // what the guest is likely to touch first
	ended     chan error        // the installer's end
	running   context.CancelCauseFunc
	wait      sync.WaitGroup

	device     *deviceReceiver
	digest     [32]byte
	loaded     <-chan error
	isLoaded   bool
	isWhole    bool // the device state is here and checked
	ran        chan error
	committed  time.Time
	ownsGuest  bool // the guest runs here, or is paused as it came
	isGone     bool // the VMM has ended and the loop knows it
	hasStrayed bool // somebody else has let the guest run, and the loop knows it
	patience   <-chan time.Time
	handedOver bool                            // to the keeper
	past       struct{ sent, received uint64 } // over links that died

	answer  wire.Verdict
	failure error
	trouble error // of an action, which cannot return it
}

// armResult is the end of the VMM's preparation.
type armResult struct {
	handle   *uffd.Handle
	mappings []vmm.Mapping
	checks   []vmm.Check
	err      error
}

func newSession(r *receiver, a arrival, c *control, frames chan inbound, about vmm.Description) (*session, error) {
	s := &session{
		receiver: r, hello: a.hello, about: about, layout: about.Layout,
		link: a.link, control: c, frames: frames,
		armed: make(chan armResult, 1), ended: make(chan error, 1), ran: make(chan error, 1),
		counters: newCounters(),
	}
	r.start = time.Now()
	r.report.Epoch, r.report.PagesTotal = a.hello.Epoch, s.layout.Pages()
	machine := failover.NewDestination(a.hello.VM, a.hello.Epoch, about.Running, a.link.Peer())
	s.driver = failover.NewDriver(machine, r.journal, s.act)
	var err error
	s.vmm, err = r.incoming()
	return s, err
}

// rehearse makes everything ready as for a migration, tells what it found, and
// puts everything away again.
func (s *session) rehearse(ctx context.Context) error {
	result := s.prepare(ctx)
	verdict := s.verdict(result)
	if result.handle != nil {
		result.handle.Close()
	}
	err := errors.Join(s.discard(), s.control.send(verdict))
	s.control.finish()
	return err
}

// prepare creates the RAM files, starts the VMM, checks it against the source
// and arms it.
func (s *session) prepare(ctx context.Context) armResult {
	var r armResult
	if r.err = s.vmm.Create(); r.err != nil {
		return r
	}
	if r.err = s.vmm.Start(ctx); r.err != nil {
		return r
	}
	if r.checks, r.err = s.vmm.Preflight(ctx, s.about); r.err != nil {
		return r
	}
	if r.err = reportChecks(s.cfg.Report, "destination", r.checks); r.err != nil {
		return r
	}
	r.handle, r.mappings, r.err = s.vmm.Arm(ctx)
	return r
}

// verdict tells the source what the preparation found.
func (s *session) verdict(r armResult) wire.Verdict {
	checks := r.checks
	var refused *RefusedError
	if r.err != nil && !errors.As(r.err, &refused) {
		checks = append(checks, vmm.Check{Name: "destination", Status: vmm.StatusRefused, Detail: r.err.Error(), Fix: hintOf(r.err)})
	}
	document, err := json.Marshal(checks)
	if err != nil || len(checks) == 0 {
		document = []byte("[]")
	}
	return wire.Verdict{OK: r.err == nil, Document: document}
}

// hintOf returns the hint of an error that has one.
func hintOf(err error) string {
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		return h.Hint()
	}
	return ""
}

// discard kills the VMM, if there is one, and removes everything that was made
// for the guest.
func (s *session) discard() error {
	ctx, cancel := context.WithTimeout(context.Background(), killTimeout)
	defer cancel()
	if err := s.vmm.Kill(ctx); err != nil {
		return fmt.Errorf("kill the VMM of the destination: %w", err)
	}
	s.stopServing(errors.New("the VMM was killed"))
	errs := []error{s.vmm.Remove(), s.vmm.Detach()}
	if s.pages != nil {
		errs = append(errs, s.pages.close(true))
		s.pages = nil
	}
	return errors.Join(errs...)
}

// startServing starts to serve the VMM's faults and the link's answers.
func (s *session) startServing(r armResult) error {
	s.handle = r.handle
	addresses, err := newSpans(s.layout, r.mappings)
	if err != nil {
		return err
	}
	if s.pages, err = createPageMap(s.vmm.RAMFiles()[0]+".pages", s.layout.Pages()); err != nil {
		return err
	}
	lost, err := openPoisonList(s.path(poisonedFile), s.layout)
	if err != nil {
		return err
	}
	if err := lost.reset(); err != nil {
		return err
	}
	if s.reader, err = uffd.NewReader(s.handle); err != nil {
		return err
	}
	s.installer = newInstaller(s.handle, s.reader, addresses, newTable(s.layout.Pages(), s.pages), s.counters, lost)
	s.installer.message = s.message
	s.installer.cells = newCells(s.cfg.MapCells, s.layout.Pages())
	s.installer.plan = prefetch.NewPlan(s.cfg.Prefetch, strideMost, bubbleReach)
	if slices.Contains(s.cfg.Prefetch, prefetch.HotSet) && s.cfg.Trace == "" {
		s.installer.hot = s.hot
	}
	if s.cfg.Trace != "" {
		if s.installer.trace, err = newTracer(s.cfg.Trace, s.cfg.TraceFor, s.layout.Pages()); err != nil {
			return err
		}
	}
	support, err := uffd.Probe(uffd.FeaturePoison)
	s.installer.canPoison = err == nil && support == uffd.Supported
	ctx, cancel := context.WithCancelCause(context.Background())
	s.running = cancel
	if s.cfg.Cache != nil {
		s.installer.useCache(ctx, s.cfg.Cache, s.filter)
	}
	s.wait.Go(func() { s.ended <- s.installer.run(ctx) })
	s.fetch()
	return nil
}

// fetch starts to use the link for pages.
func (s *session) fetch() {
	s.fetcher = startFetcher(s.link, s.layout, s.key, s.installer)
	s.installer.use(s.fetcher)
}

// stopServing ends the installer, the fetcher and the feeder of device state.
// The userfaultfd is closed on this side; the VMM's own copy stays.
func (s *session) stopServing(cause error) {
	if s.running != nil {
		s.running(cause)
	}
	s.wait.Wait()
	if s.installer != nil && s.ownsGuest {
		s.installer.closeCache()
	} else if s.installer != nil {
		go s.installer.closeCache() // there may be somebody to tell, at once
	}
	if s.installer != nil {
		if err := s.installer.trace.close(); err != nil {
			s.message(err.Error())
		}
	}
	s.installer = nil
	if s.device != nil {
		_ = s.device.stop() // the file is read by nobody any more
		s.device = nil
	}
	if s.reader != nil {
		_ = s.reader.Close()
		s.reader = nil
	}
	if s.handle != nil {
		_ = s.handle.Close()
		s.handle = nil
	}
}
