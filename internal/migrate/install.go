package migrate

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/prefetch"
	"github.com/lazymig/lazymig/uffd"
)

// The installer serves a guest's faults and installs its pages:
//
//  1. Drain all events. Apply REMOVE first: a discarded page must not be
//     filled with old content, and the kernel refuses every COPY until the
//     REMOVE was read.
//  2. Faults: zero pages are answered on the spot, the others are demanded.
//  3. Install all demand answers that have come.
//  4. Install one copy run of the background, then start again at 1, so that
//     a fault waits for one run at the most.
//  5. Ask for more of the background while the window has room.
//
// All of it is one goroutine, so a REMOVE that was read
// is applied before anything else is installed, without a lock.
type installer struct {
	handle    *uffd.Handle
	reader    *uffd.Reader
	spans     spans
	table     *table
	counters  *counters
	huge      *hugePages // nil: the guest has none
	cells     *cells     // nil: nobody wants to see a map
	lost      *poisonList
	canPoison bool
	// message tells the operator something. It must not block.
	message func(string)

	demands chan *answer  // verified answers to demand requests
	bulk    chan *answer  // verified answers to the background's requests
	links   chan *fetcher // the newest link; nil when it died
	// committed is set once the guest runs here: the background may start.
	committed atomic.Bool
	// ran is when that was; set before committed.
	ran time.Time

	// cache is what this host has, recipe what the source says of pages that
	// may be there, shelf what looks for them; nil without a cache. page is for
	// one page of it.
	cache  PageCache
	recipe *recipe
	shelf  *shelf
	kept   *depositor
	hung   *atomic.Bool // the cache's storage hangs
	page   []byte
	filter []byte // what the source is told of cache

	// hot is what the guest is likely to touch first, in that order.
	hot []lazymig.HotPage

	batch      uffd.Batch
	watch      hotWatch
	link       *fetcher
	plan       *prefetch.Plan
	window     prefetch.Window
	mapped     bool          // the source has told all its holes
	complained bool          // about a list of poisoned pages that cannot be written
	trace      *tracer       // nil: nobody wants to know
	onDemand   bool          // there is no background
	remote     time.Duration // how long a page takes that the source is asked for, smoothed
	calm       bool          // the storm of faults behind the resume is over
	current    bulkWork
	stuck      []*answer            // demand answers that the kernel could not take yet
	unsaved    []lazymig.PageNumber // poisoned pages that are not on the list yet
	retry      []lazymig.PageNumber // faults that the kernel could not take an answer for yet
	holding    bool                 // something is stuck: pause before the next try
}

// bulkWork is the background answer that is being installed.
type bulkWork struct {
	answer *answer
	next   int
}

func newInstaller(handle *uffd.Handle, reader *uffd.Reader, s spans, t *table, c *counters, lost *poisonList) *installer {
	in := &installer{
		handle: handle, reader: reader, spans: s, table: t, counters: c, lost: lost,
		demands: make(chan *answer, answerBuffers), bulk: make(chan *answer, answerBuffers),
		links: make(chan *fetcher, 1), watch: newHotWatch(), hung: new(atomic.Bool),
		plan:   prefetch.NewPlan(prefetch.Policies(), strideMost, bubbleReach),
		window: prefetch.Window{Chunk: chunkPages, Most: windowPages, Target: demandTarget, Slack: linkSlack},
	}
	in.useHuge()
	return in
}

// use makes the installer ask link f from now on, or nobody while f is nil.
func (in *installer) use(f *fetcher) {
	select {
	case <-in.links: // one that the installer has not looked at
	default:
	}
	in.links <- f
	in.reader.Wakeup()
}

// start lets the background begin: the guest runs here.
func (in *installer) start() {
	if in.committed.Load() {
		return
	}
	in.ran = time.Now()
	in.committed.Store(true)
	in.reader.Wakeup()
}

// running returns for how long the guest has run here.
func (in *installer) running() time.Duration {
	if !in.committed.Load() {
		return 0
	}
	return time.Since(in.ran)
}

// run serves until every page is known and the guest runs here, or until ctx
// ends. An error means that pages cannot be installed any more.
func (in *installer) run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, in.reader.Wakeup)
	defer stop()
	for {
		if err := in.reader.Read(&in.batch, in.patience()); err != nil {
			return fmt.Errorf("read guest faults: %w", err)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := in.turn(); err != nil {
			return err
		}
		if in.table.unknown == 0 && in.committed.Load() && in.idle() {
			return in.finish()
		}
	}
}

// idle reports whether the kernel and the disk have taken everything.
func (in *installer) idle() bool { return len(in.stuck)+len(in.retry)+len(in.unsaved) == 0 }

// turn is one pass over the steps above.
func (in *installer) turn() error {
	in.holding = false
	if err := in.adoptLink(); err != nil {
		return err
	}
	in.applyRemoved()
	in.saveLost()
	if err := in.applyFaults(); err != nil {
		return err
	}
	if err := in.installDemands(); err != nil {
		return err
	}
	if err := in.installBulk(); err != nil {
		return err
	}
	if err := in.loseLookups(); err != nil {
		return err
	}
	in.lookUp()
	in.ask()
	return nil
}

// useCache makes in answer from a cache what is there. It comes before run.
func (in *installer) useCache(ctx context.Context, cache PageCache, filter []byte) {
	in.cache, in.filter, in.recipe, in.page = cache, filter, newRecipe(in.table.pages), make([]byte, lazymig.PageSize)
	in.recipe.noQueue = in.onDemand
	in.shelf, in.kept = startShelf(ctx, cache, in), startDepositor(cache)
}

// closeCache waits until what has arrived is in the cache. The installer and
// the fetchers have ended.
func (in *installer) closeCache() {
	if in.kept == nil {
		return
	}
	in.kept.close()
	if in.kept.hangs.Load() {
		in.hung.Store(true)
	}
}

// Missing returns the first run of pages at or behind from that the source must
// be asked for, or false.
func (in *installer) Missing(from lazymig.PageNumber) (lazymig.Run, bool) {
	if in.huge != nil {
		return in.missingHuge(from)
	}
	return in.table.missing(from, lazymig.PageNumber(in.table.pages), in.recipe.expects())
}

// IsMissing reports whether the source must be asked for p.
func (in *installer) IsMissing(p lazymig.PageNumber) bool {
	return uint64(p) < in.table.pages && !in.table.known(p) && !in.table.requested.has(p) && !in.recipe.knows(p)
}

// MissingBefore is Missing backwards.
func (in *installer) MissingBefore(to lazymig.PageNumber) (lazymig.Run, bool) {
	if in.huge != nil {
		return in.missingHugeBefore(to)
	}
	return in.table.missingBefore(to, in.recipe.expects())
}

// demand asks the source for a page that a thread waits for.
func (in *installer) demand(p lazymig.PageNumber) {
	if in.link == nil {
		return // the next link is asked
	}
	run := lazymig.Run{First: p, Count: 1}
	in.link.demand(run, in.mustBeData(run))
}

// demandAll asks for all pages again that threads wait for.
func (in *installer) demandAll() error {
	for p := range in.table.demanded {
		if whole, huge := in.whole(p); huge {
			if err := in.demandHuge(whole); err != nil {
				return err
			}
		} else {
			in.demand(p)
		}
	}
	return nil
}

// mustBeData reports whether the source has to send a page of run as data.
func (in *installer) mustBeData(run lazymig.Run) bool {
	return in.recipe != nil && in.recipe.gone || in.table.mustBeData(run)
}

// patience is how long the reader may wait for events: not at all while the
// background has something to install, for ever when there is nothing to do.
func (in *installer) patience() time.Duration {
	wasCalm := in.calm
	switch {
	case in.holding:
		return installRetry
	case in.current.answer != nil || len(in.bulk) > 0 || len(in.demands) > 0 || len(in.links) > 0:
		return 0
	case in.storming() || in.calm != wasCalm, in.shelf != nil && len(in.shelf.out) > 0:
		return stormRecheck
	default:
		return -1
	}
}

// storming reports whether the guest has only just resumed. It touches a few
// hundred pages one after the other then, before anybody outside sees it run:
// the background leaves both hosts and the link to them. On a long path it is the
// other way round: what the background has brought need not be waited for.
func (in *installer) storming() bool {
	if in.calm || !in.committed.Load() {
		return false
	}
	in.calm = !in.trace.records(in.ran) && (in.link.rtt() > farRTT || time.Since(in.ran) >= stormTime)
	return !in.calm
}

// adoptLink takes over a new link: whatever the old one was asked is asked
// again.
func (in *installer) adoptLink() error {
	select {
	case in.link = <-in.links:
	default:
		return nil
	}
	in.table.forgetRequests()
	in.window.Reset(in.link.rtt())
	if in.current.answer != nil && !in.current.answer.local {
		in.current.answer.release()
		in.current = bulkWork{}
	}
	if in.link == nil {
		return nil
	}
	in.askAhead()
	return in.demandAll()
}

// applyRemoved marks what the guest gave back.
func (in *installer) applyRemoved() {
	for _, r := range in.batch.Removed {
		in.spans.each(r.Start, r.Length, func(p lazymig.PageNumber) {
			if !in.table.kept.discarded.has(p) {
				if !in.table.known(p) {
					in.cells.add(cellDiscarded, lazymig.Run{First: p, Count: 1})
				}
				in.table.markDiscarded(p)
				in.counters.count(&in.counters.discarded, 1)
			}
			whole, huge := in.whole(p)
			if huge && p == whole.End()-1 { // all of its parts are known by now
				in.drop(whole)
			}
			if _, waits := in.table.demanded[p]; waits {
				in.retry = append(in.retry, p) // with zeros now
			}
		})
	}
}

func (in *installer) applyFaults() error {
	retry := in.retry
	in.retry = nil
	for _, p := range retry {
		if err := in.retryPage(p); err != nil {
			return err
		}
	}
	for _, f := range in.batch.Faults {
		p, ok := in.spans.page(f.Address)
		if !ok {
			return fmt.Errorf("serve fault at %#x: the address is not guest memory", f.Address)
		}
		whole, _ := in.whole(p)
		p = whole.First
		if !in.table.known(p) && !in.onDemand {
			in.plan.Fault(f.Thread, p)
		}
		in.trace.fault(p, f.Thread)
		if err := in.fault(p); err != nil {
			return err
		}
	}
	return nil
}

// retryPage does again what the kernel could not take before: a huge page of the
// background, or the answer to a fault.
func (in *installer) retryPage(p lazymig.PageNumber) error {
	if whole, huge := in.whole(p); huge && !in.waits(p) && !in.table.isPoisoned(p) {
		_, err := in.complete(whole)
		return err
	}
	return in.fault(p)
}

// fault answers a thread of the guest that touched page p.
func (in *installer) fault(p lazymig.PageNumber) error {
	if whole, huge := in.whole(p); huge {
		return in.faultHuge(whole)
	}
	if in.table.readsZero(p) {
		return in.installZero(p)
	}
	if in.table.isPoisoned(p) {
		return in.poison(p)
	}
	_, waits := in.table.demanded[p]
	if !waits {
		in.wait(p)
	}
	switch {
	case in.recipe.knows(p):
		return in.installCached(p)
	case !waits:
		in.demand(p)
	}
	return nil
}

// wait notes that a thread waits for p from now on.
func (in *installer) wait(p lazymig.PageNumber) {
	now := time.Now()
	in.table.demanded[p] = now
	in.watch.fault(p, now, in.recipe.knows(p))
}

// installZero maps zeros at p: a hole, a zero page, or a discarded page.
func (in *installer) installZero(p lazymig.PageNumber) error {
	start := time.Now()
	address, _ := in.spans.address(p)
	_, err := in.handle.ZeroPage(address, lazymig.PageSize)
	switch {
	case err == nil:
		in.table.markInstalled(p, 1)
	case errors.Is(err, unix.EEXIST):
		// A second thread asked before the first answer: the page is there.
		err = in.handle.Wake(address, lazymig.PageSize)
	}
	if err != nil {
		return in.postpone(p, fmt.Errorf("install zero page %d: %w", p, err))
	}
	in.answered(p, in.counters.faultZero, start)
	return nil
}

// poison makes a touch of p fail as a touch of broken memory does. Where the
// kernel cannot do that, the page stays missing and a thread that touches it
// stalls: never zeros.
func (in *installer) poison(p lazymig.PageNumber) error {
	if !in.canPoison {
		return nil
	}
	address, _ := in.spans.address(p)
	whole, _ := in.whole(p)
	length := whole.Count * lazymig.PageSize
	_, err := in.handle.Poison(address, length)
	if errors.Is(err, unix.EEXIST) {
		err = in.handle.Wake(address, length)
	}
	if err != nil {
		return in.postpone(p, fmt.Errorf("poison page %d: %w", p, err))
	}
	delete(in.table.demanded, p)
	return nil
}

// postpone keeps the fault on p for the next turn if the kernel asked for
// that, and returns err otherwise.
func (in *installer) postpone(p lazymig.PageNumber, err error) error {
	if !again(err) {
		return err
	}
	in.retry = append(in.retry, p)
	in.holding = true
	return nil
}

// again reports whether the kernel asks to try the same call later: the
// address space is changing, or memory is short.
func again(err error) bool { return errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ENOMEM) }

// answered records that nobody waits for p any more. start is when the answer
// began for a fault that was not demanded.
func (in *installer) answered(p lazymig.PageNumber, h *hdrhistogram.Histogram, start time.Time) {
	if demanded, waits := in.table.demanded[p]; waits {
		start = demanded
		delete(in.table.demanded, p)
	}
	in.counters.fault(h, time.Since(start))
	in.trace.answered(p, start, h == in.counters.faultZero)
}
