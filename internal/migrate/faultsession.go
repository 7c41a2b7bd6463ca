package migrate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/internal/vmm/firecracker"
	"github.com/lazymig/lazymig/uffd"
)

// faultSession serves one VMM that has handed its memory over:
//
//  1. An installer of its own serves its faults, as at the destination of a
//     migration: demand first, the background behind, REMOVE before both.
//  2. Feeds bring the pages. When one ends, the next is opened; until then the
//     VMM stalls on pages that are missing.
//  3. It ends when every page is in and the memory is unregistered, or when
//     the VMM has ended.
//  4. If the memory cannot be had for good, or the kernel does not take it,
//     the VMM is killed, with SIGKILL, since a thread that waits for a page
//     takes no other signal. It never goes on with zeros.
type faultSession struct {
	server *faultServer
	vmm    *firecracker.Handoff

	counters *counters
	total    uint64 // pages of all regions

	mu      sync.Mutex // protects what follows; a leaf
	remarks int
	last    string
	past    struct{ sent, received uint64 } // over feeds that have ended
	bulk    int                             // connections of the last one
}

// errAbandoned is why VMMs are killed that nobody wants to serve any longer.
var errAbandoned = errors.New("the service was ended before all of its memory was in")

func newFaultSession(s *faultServer, vmm *firecracker.Handoff) *faultSession {
	f := &faultSession{server: s, vmm: vmm, counters: newCounters()}
	for _, r := range vmm.Regions {
		f.total += r.Size / lazymig.PageSize
	}
	return f
}

// run serves to the end. The hand-off is closed, and the VMM is not left with
// pages missing.
func (f *faultSession) run() Served {
	outcome, err := f.serve()
	if outcome == ServeKilled {
		err = errors.Join(err, f.kill())
	}
	if problem := f.vmm.Close(); problem != nil {
		f.say(problem.Error())
	}
	var r Report
	f.counters.fill(&r)
	served := Served{
		Outcome: outcome, PagesTotal: f.total,
		PagesZero: r.PagesZero, PagesCache: r.PagesCache, PagesDemand: r.PagesDemand, PagesBulk: r.PagesBulk,
		PagesDiscarded: r.PagesDiscarded, PagesPoisoned: r.PagesPoisoned,
		BytesSent: f.past.sent, BytesReceived: f.past.received, BytesRaw: r.BytesRaw,
		DigestMismatches: r.DigestMismatches, Reconnects: r.Reconnects, BulkConnections: f.bulk, FaultUS: r.FaultUS,
	}
	if err != nil {
		served.Reason = err.Error()
	}
	return served
}

// kill ends the VMM and waits until it is gone: before that its descriptor must
// not be closed.
func (f *faultSession) kill() error {
	if err := f.vmm.Kill(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), killTimeout)
	defer cancel()
	return f.vmm.Wait(ctx)
}

// serve begins the goroutines of the session, waits for the first end of one,
// and ends the others.
func (f *faultSession) serve() (ServeOutcome, error) {
	in, err := f.newInstaller()
	if err != nil {
		return ServeKilled, err
	}
	defer in.reader.Close() // cannot lose anything
	feeds, err := f.server.feeds(f.say)
	if err != nil {
		return ServeKilled, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	defer in.closeCache()
	defer wait.Wait()
	defer cancel()
	if f.server.cache != nil && !f.server.hung.Load() {
		in.hung = &f.server.hung
		in.useCache(ctx, f.server.cache, f.server.filter)
	}
	served, broken, ended := make(chan error, 1), make(chan error, 1), make(chan error, 1)
	in.start()
	wait.Go(func() { served <- in.run(ctx) })
	wait.Go(func() { broken <- f.feed(ctx, feeds, in) })
	wait.Go(func() { ended <- f.vmm.Wait(ctx) })
	progress := time.NewTicker(progressInterval)
	defer progress.Stop()
	for {
		select {
		case err = <-served:
			if err == nil {
				f.server.report(ServeEvent{Event: EventComplete, PID: f.vmm.PID, Progress: f.progress()})
				return ServeComplete, nil
			}
		case err = <-broken:
		case err = <-ended:
		case <-f.server.cfg.Abandon:
			err = errAbandoned
		case <-progress.C:
			f.server.report(ServeEvent{Event: EventProgress, PID: f.vmm.PID, Progress: f.progress()})
			continue
		}
		return f.outcome(err, ended)
	}
}

// outcome says what it means that something other than the installer ended
// well. The end of the VMM breaks other things a moment before it shows.
func (f *faultSession) outcome(err error, ended <-chan error) (ServeOutcome, error) {
	if !f.vmm.Ended() {
		select {
		case <-ended:
		case <-time.After(exitGrace):
		}
	}
	if f.vmm.Ended() {
		return ServeEnded, nil
	}
	return ServeKilled, err
}

func (f *faultSession) progress() *Progress {
	p := f.counters.progress(f.total)
	return &p
}

// newInstaller makes the installer for the VMM's regions. The page numbers are
// those of the memory file. Pages that are in no region count as known, so
// nobody asks for them.
func (f *faultSession) newInstaller() (*installer, error) {
	if f.vmm.PID == os.Getpid() {
		return nil, errors.New("a VMM cannot be served by its own process")
	}
	places, err := f.spans()
	if err != nil {
		return nil, err
	}
	reader, err := uffd.NewReader(f.vmm.Handle)
	if err != nil {
		return nil, err
	}
	pages := f.server.size / lazymig.PageSize
	t := newTable(pages, &pageMap{installed: newBitmap(pages), discarded: newBitmap(pages)})
	next := lazymig.PageNumber(0)
	for _, s := range places.sorted() {
		t.markZeroRun(lazymig.Run{First: next, Count: uint64(s.first - next)})
		next = s.end()
	}
	t.markZeroRun(lazymig.Run{First: next, Count: pages - uint64(next)})
	lost := &poisonList{layout: snapshotLayout(f.server.size), pages: map[lazymig.PageNumber]struct{}{}}
	in := newInstaller(f.vmm.Handle, reader, places, t, f.counters, lost)
	in.message = f.say
	support, _ := uffd.Probe(uffd.FeaturePoison) // if it cannot be asked, such a page stalls
	in.canPoison = support == uffd.Supported
	in.onDemand = f.server.cfg.OnDemand
	return in, nil
}

// spans translates the regions. The package that took them has checked them
// against each other.
func (f *faultSession) spans() (spans, error) {
	var out spans
	for i, r := range f.vmm.Regions {
		switch {
		case r.PageSize != lazymig.PageSize && r.PageSize != lazymig.HugePageSize:
			return nil, fmt.Errorf("region %d has pages of %d bytes; only memory in pages of 4 KiB or 2 MiB can be served: a page of 1 GiB would hold a thread up for as long as a gigabyte takes", i, r.PageSize)
		case r.Offset > f.server.size || r.Size > f.server.size-r.Offset:
			return nil, fmt.Errorf("region %d needs bytes %d to %d of the memory, which has %d: it is the memory of another snapshot",
				i, r.Offset, r.Offset+r.Size, f.server.size)
		}
		out = append(out, span{
			first: lazymig.PageNumber(r.Offset / lazymig.PageSize), pages: r.Size / lazymig.PageSize, start: r.Address,
			huge: r.PageSize == lazymig.HugePageSize,
		})
	}
	return out, nil
}

// feed brings the installer its pages until ctx ends, or for as long as there
// is hope.
func (f *faultSession) feed(ctx context.Context, open openFeed, in *installer) error {
	for damaged := 0; damaged < damageLimit; {
		from, err := open(ctx, in)
		if err != nil {
			return err
		}
		in.use(from.fetcher)
		select {
		case <-from.done:
		case <-ctx.Done():
		}
		err = from.err()
		in.use(nil)
		from.close()
		f.mu.Lock()
		f.past.sent += from.sent()
		f.past.received += from.received()
		f.bulk = from.connections
		f.mu.Unlock()
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, ErrMemoryGone):
			return err
		case from.fetcher.mismatches.Load() > mismatchLimit:
			damaged++
		default:
			damaged = 0
		}
		f.counters.count(&f.counters.reconnects, 1)
		f.say(fmt.Sprintf("the source of the memory was lost: %v; the VMM stalls on pages that are missing", err))
	}
	return fmt.Errorf("%w: %w", ErrMemoryGone, errMismatch)
}

// say tells the operator something, the same thing once in a row and not too
// much.
func (f *faultSession) say(text string) {
	f.mu.Lock()
	again := text == f.last || f.remarks > maxRemarks
	f.last = text
	f.remarks++
	if f.remarks == maxRemarks {
		text += "; no more is said about this VMM"
	}
	f.mu.Unlock()
	if !again {
		f.server.message(f.vmm.PID, text)
	}
}
