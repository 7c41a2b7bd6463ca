package migrate

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/failover"
	"github.com/lazymig/lazymig/internal/vmm"
	"github.com/lazymig/lazymig/internal/wire"
	"github.com/lazymig/lazymig/pagecache"
	"github.com/lazymig/lazymig/quictransport"
)

// receiver is the destination's side: it waits for a source and takes one
// guest. Its session loop, in destinationloop.go, owns everything but the
// channels and what admission's lock protects.
type receiver struct {
	cfg      ReceiveConfig
	dir      string
	start    time.Time
	journal  *failover.Journal
	listener *quictransport.Listener
	key      pagecache.Key
	filter   []byte // of the cache
	entry    admission
	links    chan arrival

	report Report
	tag    string // of the VMM
}

// arrival is a link that a source has made.
type arrival struct {
	link  *quictransport.Link
	hello wire.Hello
}

// admission is what the listener must know to welcome or refuse a source.
type admission struct {
	mu      sync.Mutex // protects all below; a leaf
	busy    bool
	session [16]byte
	vm      lazymig.VMID
	state   failover.State
	epoch   lazymig.Epoch
	// newer gets the epoch of a source that has begun another migration of
	// this VM: it has given this one up.
	newer chan lazymig.Epoch
}

// begin records that a session works on an attempt.
func (a *admission) begin(hello wire.Hello) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.busy, a.session, a.vm, a.epoch, a.state = true, hello.Session, hello.VM, hello.Epoch, failover.StateNone
}

// note records where the session stands.
func (a *admission) note(state failover.State) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.state = state
}

// end records that there is no session: another source may come.
func (a *admission) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.busy = false
}

// Receive waits for a source, takes its guest and returns when the guest needs
// the source no more, or when it will not come. The report's Outcome says
// which; the error says why, if it was not "done". Cancelling ctx gives the
// guest back before the commit and has no effect after it.
func Receive(ctx context.Context, cfg ReceiveConfig) (Report, error) {
	cfg, err := cfg.validated()
	if err != nil {
		return Report{}, err
	}
	r := &receiver{
		cfg: cfg, start: time.Now(), key: pagecache.Key(cfg.Identity.DomainKey),
		entry: admission{newer: make(chan lazymig.Epoch, 1)}, links: make(chan arrival),
		report: Report{VM: cfg.VM, Outcome: OutcomeAborted},
	}
	err = r.run(ctx)
	r.report.TotalMS, r.report.CPUSeconds = milliseconds(time.Since(r.start)), cpuSeconds()
	if err != nil {
		r.report.Reason = err.Error()
	}
	cfg.Report(Event{Event: EventReport, Report: &r.report})
	return r.report, err
}

func (r *receiver) run(ctx context.Context) (err error) {
	if r.dir, err = makeVMDir(r.cfg.StateDir, r.cfg.VM); err != nil {
		return err
	}
	if r.journal, err = failover.OpenJournal(r.dir); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.journal.Close()) }()
	if _, err := r.incoming(); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err) // before a source has come
	}
	r.listener, err = quictransport.Listen(r.cfg.Listen, r.cfg.Identity, quictransport.Config{Peer: r.cfg.Peer})
	if err != nil {
		return err
	}
	r.makeFilter()
	listening, stop := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	wait.Go(func() { r.serveLinks(listening) })
	defer func() {
		stop()
		err = errors.Join(err, r.listener.Close())
		wait.Wait()
	}()
	r.message(fmt.Sprintf("waiting for %s at %s", r.cfg.VM, r.listener.Addr()))
	return r.wait(ctx)
}

// makeFilter makes what the source is told of the cache. A cache that cannot say
// what it has is not asked.
func (r *receiver) makeFilter() {
	if r.cfg.Cache == nil {
		return
	}
	filter, err := filterOf(r.cfg.Cache)
	if err != nil {
		r.message(fmt.Sprintf("goes without the pages of the cache: %v", err))
	}
	r.filter = filter
}

// filterOf returns the filter of a cache for the wire.
func filterOf(cache PageCache) ([]byte, error) {
	type made struct {
		filter []byte
		err    error
	}
	done := make(chan made, 1)
	go func() {
		filter, err := cache.Filter()
		done <- made{filter, err}
	}()
	select {
	case m := <-done:
		if m.err == nil && len(m.filter) > wire.MaxFilter {
			return nil, fmt.Errorf("%w: %d bytes, at most %d", pagecache.ErrFilterSize, len(m.filter), wire.MaxFilter)
		}
		return m.filter, m.err
	case <-time.After(filterTimeout):
		return nil, errors.New("its storage does not answer")
	}
}

// serveLinks takes links until the listener is closed.
func (r *receiver) serveLinks(ctx context.Context) {
	for {
		link, hello, err := r.listener.Accept(ctx, r.welcome)
		if err != nil {
			return
		}
		select {
		case r.links <- arrival{link: link, hello: hello}:
		case <-ctx.Done():
			link.Close(wire.CodeClosing, "this destination is done")
		}
	}
}

// welcome decides whether a source may come in.
func (r *receiver) welcome(hello wire.Hello, _ string) (wire.Welcome, error) {
	if hello.Name != r.cfg.VM {
		return wire.Welcome{}, &quictransport.RefusedError{
			Code: wire.CodeEngine, Text: fmt.Sprintf("this destination waits for VM %q, not for %q", r.cfg.VM, hello.Name),
			Hint: "give both sides the same --vm NAME",
		}
	}
	r.entry.mu.Lock()
	defer r.entry.mu.Unlock()
	if !r.entry.busy {
		if failover.State(hello.State) != failover.StateNone {
			return wire.Welcome{}, &quictransport.RefusedError{
				Code: wire.CodeEngine, Text: "this destination knows nothing of that migration",
				Hint: "run `lazymig status " + r.cfg.VM + "` on both hosts",
			}
		}
		if err := failover.CheckReceive(r.journal.Records(), hello.VM, hello.Epoch); err != nil {
			return wire.Welcome{}, &quictransport.RefusedError{Code: wire.CodeEngine, Text: err.Error()}
		}
	} else if hello.Session != r.entry.session {
		if hello.VM == r.entry.vm && hello.Epoch > r.entry.epoch {
			select {
			case r.entry.newer <- hello.Epoch:
			default:
			}
		}
		return wire.Welcome{}, &quictransport.RefusedError{
			Code: wire.CodeEngine, Text: fmt.Sprintf("another migration of %s is under way at this destination", r.cfg.VM),
			Hint: "wait for it, or start another receive",
		}
	}
	welcome := wire.Welcome{State: uint8(r.entry.state), Epoch: r.entry.epoch, Session: hello.Session}
	if r.cfg.Identity.Insecure {
		welcome.DomainKey = r.key
	}
	return welcome, nil
}

// wait serves sources until one has brought its guest or failed to.
func (r *receiver) wait(ctx context.Context) error {
	for {
		select {
		case a := <-r.links:
			again, err := r.serve(ctx, a)
			if !again {
				return err
			}
			if err != nil {
				r.message(err.Error())
			}
			r.entry.end()
			r.message("nothing was moved; waiting again")
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// serve takes the guest that a new link offers. again says that it was only a
// rehearsal, or nothing at all.
func (r *receiver) serve(ctx context.Context, a arrival) (again bool, err error) {
	frames := make(chan inbound, eventQueue)
	control := startControl(a.link, frames, wire.TypeOffer, wire.TypeHotSet, wire.TypeDeviceState, wire.TypeDeviceEnd,
		wire.TypeCommit, wire.TypeAbort, wire.TypeReleased)
	r.entry.begin(a.hello)
	offer, about, err := r.offered(ctx, a.link, frames)
	if err != nil {
		closeLink(a.link, err)
		control.stop()
		return ctx.Err() == nil, fmt.Errorf("a source came and offered nothing: %w", err)
	}
	s, err := newSession(r, a, control, frames, about)
	if err != nil {
		closeLink(a.link, err)
		control.stop()
		return false, err
	}
	if offer.DryRun {
		return true, s.rehearse(ctx)
	}
	return false, s.run(ctx)
}

// offered waits for the description of the guest.
func (r *receiver) offered(ctx context.Context, link *quictransport.Link, frames <-chan inbound) (wire.Offer, vmm.Description, error) {
	var about vmm.Description
	timeout := time.After(offerTimeout)
	select {
	case f := <-frames:
		if f.kind != wire.TypeOffer {
			return wire.Offer{}, about, fmt.Errorf("%w: %s before an offer", wire.ErrUnexpected, f.kind)
		}
		offer, err := wire.ParseOffer(f.payload)
		if err != nil {
			return offer, about, err
		}
		if err := json.Unmarshal(offer.Document, &about); err != nil {
			return offer, about, fmt.Errorf("%w: description of the guest: %w", wire.ErrMalformed, err)
		}
		return offer, about, about.Layout.Validate()
	case <-link.Done():
		return wire.Offer{}, about, link.Err()
	case <-timeout:
		return wire.Offer{}, about, fmt.Errorf("no offer in %v", offerTimeout)
	case <-ctx.Done():
		return wire.Offer{}, about, context.Cause(ctx)
	}
}

// incoming reads the VMM's command line. Nothing is made yet.
func (r *receiver) incoming() (destinationVMM, error) {
	var tag [4]byte
	if _, err := rand.Read(tag[:]); err != nil {
		return nil, err
	}
	r.tag = hex.EncodeToString(tag[:])
	return r.cfg.incoming(r.dir, r.tag)
}

func (r *receiver) message(text string) { r.cfg.Report(Event{Event: EventMessage, Message: text}) }

// path returns the path of a file in the VM's state directory.
func (r *receiver) path(name string) string { return filepath.Join(r.dir, name) }
