package migrate

import (
	"cmp"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/internal/wire"
	"github.com/lazymig/lazymig/pagecache"
	"github.com/lazymig/lazymig/quictransport"
)

// A fetcher asks one link for pages and verifies what comes. It has one
// goroutine that sends demand requests and one that receives their answers,
// and the same pair for each bulk stream; all end when the link does.
type fetcher struct {
	link     *quictransport.Link
	layout   lazymig.Layout
	counters *counters
	key      pagecache.Key
	demands  demandQueue
	ahead    chan wire.Ahead // what goes ahead of all, once
	lanes    []*lane         // of the background, one for each bulk stream
	out      *installer
	wait     sync.WaitGroup
	fail     func(error) // ends what the pages come from
	// mismatches counts the pages of this link that failed their digests.
	mismatches atomic.Int64
	// held is how long warm pages have waited for the cache's storage. It is that
	// of the first bulk stream's receiver.
	held time.Duration
}

// wanted is a run of the background, and whether it has to come as data.
type wanted struct {
	run      lazymig.Run
	dataOnly bool
}

// A lane carries requests of the background to one bulk stream.
type lane struct {
	requests chan wanted
	// pages is how many were asked for on it and have not come. The installer owns it.
	pages uint64
}

func newLane() *lane { return &lane{requests: make(chan wanted, maxRequests)} }

// demandQueue holds the pages that a thread of the guest waits for until they
// are sent, a run each, or the runs of a huge page. The guest's threads bound it.
type demandQueue struct {
	mu     sync.Mutex // protects the runs; a leaf
	runs   []lazymig.Run
	data   []lazymig.Run // those that have to come as data
	signal chan struct{}
}

func (q *demandQueue) push(run lazymig.Run, dataOnly bool) {
	q.mu.Lock()
	if dataOnly {
		q.data = append(q.data, run)
	} else {
		q.runs = append(q.runs, run)
	}
	q.mu.Unlock()
	select {
	case q.signal <- struct{}{}:
	default:
	}
}

// take moves as much as a request has room for into runs.
func (q *demandQueue) take(runs []lazymig.Run) wire.Request {
	q.mu.Lock()
	defer q.mu.Unlock()
	request := wire.Request{DataOnly: len(q.data) > 0, Runs: runs[:0]}
	from := &q.runs
	if request.DataOnly {
		from = &q.data
	}
	n, pages := 0, uint64(0)
	for ; n < min(requestRuns, len(*from)) && pages+(*from)[n].Count <= wire.MaxRequestPages; n++ {
		pages += (*from)[n].Count
	}
	request.Runs = append(request.Runs, (*from)[:n]...)
	*from = append((*from)[:0], (*from)[n:]...)
	return request
}

// startFetcher starts fetching over link for the installer out.
func startFetcher(link *quictransport.Link, layout lazymig.Layout, key pagecache.Key, out *installer) *fetcher {
	f := &fetcher{
		link: link, layout: layout, counters: out.counters, key: key, out: out,
		demands: demandQueue{signal: make(chan struct{}, 1)},
		ahead:   make(chan wire.Ahead, 1),
		fail:    func(err error) { closeLink(link, err) },
	}
	f.wait.Go(func() { f.end(f.serveDemands()) })
	f.wait.Go(func() { f.end(f.receive(link.Demand(), nil, out.demands)) })
	f.wait.Go(func() { f.end(f.serveRecipe(link.Recipe())) })
	for i, stream := range link.Bulk() {
		l := newLane()
		f.lanes = append(f.lanes, l)
		f.wait.Go(func() { f.end(f.servePrefetch(stream, l, i == 0)) })
		f.wait.Go(func() { f.end(f.receive(stream, l, out.bulk)) })
	}
	return f
}

// end closes the link when a part of the fetcher failed. The session loop sees
// the link die and waits for the next one.
func (f *fetcher) end(err error) {
	if err != nil {
		f.fail(err)
	}
}

// rtt returns the shortest round trip of the link so far; 0 without one.
func (f *fetcher) rtt() time.Duration {
	if f == nil || f.link == nil {
		return 0 // it reads a file
	}
	_, rtt := f.link.RTT()
	return rtt
}

// stop waits until all goroutines of a dead link are gone.
func (f *fetcher) stop() { f.wait.Wait() }

// demand asks for what a thread waits for, at most a huge page.
func (f *fetcher) demand(run lazymig.Run, dataOnly bool) { f.demands.push(run, dataOnly) }

// prefetch asks for a run of the background, or reports that the queue is full. The
// lane takes it on which the fewest pages are under way: a connection that has lost
// a packet falls behind, and others go on for it.
func (f *fetcher) prefetch(w wanted) bool {
	l := slices.MinFunc(f.lanes, func(a, b *lane) int { return cmp.Compare(a.pages, b.pages) })
	select {
	case l.requests <- w:
		l.pages += w.run.Count
		return true
	default:
		return false
	}
}

func (f *fetcher) serveDemands() error {
	var request wire.Request
	var frame []byte
	for {
		select {
		case <-f.demands.signal:
		case <-f.link.Done():
			return nil
		}
		for request = f.demands.take(request.Runs); len(request.Runs) > 0; request = f.demands.take(request.Runs) {
			frame = request.Append(frame[:0])
			if _, err := f.link.Demand().Write(frame); err != nil {
				return fmt.Errorf("send page request: %w", err)
			}
		}
	}
}

// servePrefetch sends the background's requests. The first stream begins with
// what goes ahead.
func (f *fetcher) servePrefetch(stream quictransport.Stream, l *lane, first bool) error {
	var frame []byte
	if first {
		select {
		case ahead := <-f.ahead:
			if _, err := stream.Write(ahead.Append(nil)); err != nil {
				return fmt.Errorf("send request ahead: %w", err)
			}
		case <-f.link.Done():
			return nil
		}
	}
	for {
		select {
		case w := <-l.requests:
			frame = wire.Request{DataOnly: w.dataOnly, Runs: []lazymig.Run{w.run}}.Append(frame[:0])
			if _, err := stream.Write(frame); err != nil {
				return fmt.Errorf("send background request: %w", err)
			}
		case <-f.link.Done():
			return nil
		}
	}
}

// receive reads and verifies the answers of one stream and hands them to out.
func (f *fetcher) receive(stream quictransport.Stream, l *lane, out chan<- *answer) error {
	hasher, err := pagecache.NewHasher(f.key)
	if err != nil {
		return err
	}
	var unpack unpacker
	defer unpack.close()
	free := make(chan *answer, answerBuffers)
	for range answerBuffers {
		free <- &answer{from: f, lane: l, home: free}
	}
	for isOver := false; ; { // warming: the first answer ends it
		var a *answer
		select {
		case a = <-free:
		case <-f.link.Done():
			return nil
		}
		warm, err := f.read(stream, a, hasher, &unpack, out)
		if err == nil && warm && isOver {
			err = fmt.Errorf("%w: warm pages behind the freeze", wire.ErrMalformed)
		}
		if err != nil {
			return fmt.Errorf("receive pages: %w", err)
		}
		if warm { // nobody waits for it
			free <- a
			continue
		}
		isOver = true
		f.keep(a)
		select {
		case out <- a:
			f.out.reader.Wakeup()
		case <-f.link.Done():
			return nil
		}
	}
}

// read fills a with the next frame of stream, or reports that it was one for
// the cache.
func (f *fetcher) read(stream quictransport.Stream, a *answer, hasher *pagecache.Hasher, unpack *unpacker, out chan<- *answer) (warm bool, err error) {
	kind, payload, err := wire.ReadFrame(stream, a.buffer)
	if err != nil {
		return false, err
	}
	a.buffer = payload[:cap(payload)]
	a.pages, a.absent, a.absentLast, a.bad = wire.Pages{}, nil, false, 0
	switch {
	case kind == wire.TypeAbsent && out == f.out.bulk:
		return false, f.readAbsent(a, payload)
	case kind == wire.TypePages:
		return false, f.readPages(a, payload, hasher, unpack)
	case kind == wire.TypeWarm && out == f.out.bulk && f.out.cache != nil:
		return true, f.readWarm(payload, hasher)
	default:
		return false, fmt.Errorf("%w: frame type %d on a page stream", wire.ErrMalformed, kind)
	}
}

func (f *fetcher) readAbsent(a *answer, payload []byte) error {
	frame, err := wire.ParseAbsent(payload)
	if err != nil {
		return err
	}
	for _, run := range frame.Runs {
		if !f.layout.Contains(run) {
			return fmt.Errorf("%w: hole at pages %d to %d is outside the guest", wire.ErrMalformed, run.First, run.End())
		}
	}
	a.absent, a.absentLast = frame.Runs, frame.Last
	return nil
}

// keep has the pages of an answer put into the cache, if there is room on the way
// there.
func (f *fetcher) keep(a *answer) {
	if f.out.kept == nil || a.pages.DataCount() == 0 {
		return
	}
	if d := f.out.kept.take(); d != nil {
		d.addAnswer(a)
		f.out.kept.put(d)
	}
}

// deposit returns a deposit for warm pages. In all it waits no longer than the
// source may be held up.
func (f *fetcher) deposit() *deposit {
	if f.held > depositLimit {
		return f.out.kept.take()
	}
	began := time.Now()
	defer func() { f.held += time.Since(began) }()
	return f.out.kept.wait()
}

// readWarm puts pages into the cache that are as their digests say.
func (f *fetcher) readWarm(payload []byte, hasher *pagecache.Hasher) error {
	frame, err := wire.ParseWarm(payload)
	if err != nil {
		return err
	}
	next := f.deposit()
	if next == nil {
		return nil // the storage of the cache is too slow for it, or hangs
	}
	for i := range frame.Count() {
		d := frame.Digests[i*pagecache.DigestSize:][:pagecache.DigestSize]
		page := frame.Data[i*lazymig.PageSize:][:lazymig.PageSize]
		if hasher.Verify(page, d) {
			next.add(d, page)
		}
	}
	f.out.kept.put(next)
	return nil
}

func (f *fetcher) readPages(a *answer, payload []byte, hasher *pagecache.Hasher, unpack *unpacker) error {
	pages, err := wire.ParsePages(payload)
	if err != nil {
		return err
	}
	run := lazymig.Run{First: pages.First, Count: uint64(pages.Count())}
	if !f.layout.Contains(run) {
		return fmt.Errorf("%w: answer for pages %d to %d is outside the guest", wire.ErrMalformed, run.First, run.End())
	}
	a.pages = pages
	if err := unpack.unpack(a); err != nil {
		return err
	}
	var data uint64
	for i := range pages.Count() {
		if pages.Kind(i) != wire.KindData {
			continue
		}
		data++
		if !hasher.Verify(a.pages.Data(i), pages.Digest(i)) {
			a.bad |= 1 << i
		}
	}
	f.counters.count(&f.counters.raw, data*lazymig.PageSize)
	if a.bad != 0 {
		return f.mismatch(a)
	}
	return nil
}

// errMismatch ends a link whose pages keep failing their digests.
var errMismatch = errors.New("pages do not have the digests that came with them: check the memory of both hosts")

func (f *fetcher) mismatch(a *answer) error {
	first := a.pages.First
	f.counters.count(&f.counters.mismatches, uint64(bits.OnesCount64(a.bad)))
	n := f.mismatches.Add(int64(bits.OnesCount64(a.bad)))
	f.out.message(fmt.Sprintf("a page of %d to %d does not match its digest; it is fetched again", first, first+lazymig.PageNumber(a.pages.Count())-1))
	if n > mismatchLimit {
		return errMismatch
	}
	return nil
}
