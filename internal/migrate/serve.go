package migrate

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/internal/wire"
	"github.com/lazymig/lazymig/pagecache"
	"github.com/lazymig/lazymig/prefetch"
	"github.com/lazymig/lazymig/quictransport"
)

// SourceMemory is the memory of a guest that does not run any more. Its
// methods may be called from several goroutines.
type SourceMemory interface {
	// ReadAt reads len(p) bytes, whole pages, at a byte offset of a region.
	// An error that wraps unix.EIO says that the hardware has lost a page.
	ReadAt(p []byte, region int, offset uint64) (int, error)
	// Extents lists the runs of a region that are not holes as offset and
	// length in bytes, in order.
	Extents(region int) iter.Seq2[uint64, uint64]
}

// pageServer answers page requests from the frozen memory. It has one
// goroutine for each page stream of a link; requests that come before the
// freeze wait for it, because earlier bytes prove nothing.
type pageServer struct {
	layout lazymig.Layout
	memory SourceMemory
	lost   *poisonList
	key    pagecache.Key
	rate   uint64
	hot    []lazymig.Run // what the guest is likely to touch first
	// peer is what the other end of the newest link has; nil before there is one.
	peer   atomic.Pointer[peerCache]
	warmth *warmth // what was pushed there; set before frozen is closed

	frozen  chan struct{} // closed at the freeze
	ceded   chan struct{} // closed behind the commit
	keeping chan struct{} // closed when all pages are in the cache, or on the way
	cooking atomic.Bool   // a cook fills the cache
	kept    *depositor    // nil without a cache
	opening sync.Once
	ceding  sync.Once
	keptAll sync.Once
	mu      sync.Mutex // protects closed, and wait against a late keepAlone
	closed  bool
	thawed  context.Context
	thaw    context.CancelFunc
	wait    sync.WaitGroup
}

func newPageServer(layout lazymig.Layout, memory SourceMemory, lost *poisonList, key pagecache.Key, rate uint64) *pageServer {
	s := &pageServer{
		layout: layout, memory: memory, lost: lost, key: key, rate: rate,
		frozen: make(chan struct{}), ceded: make(chan struct{}), keeping: make(chan struct{}),
	}
	s.thawed, s.thaw = context.WithCancel(context.Background())
	return s
}

// open lets requests through: the memory does not change any more. Should the
// freeze fail after all, the destination never runs with what it was given.
func (s *pageServer) open() { s.opening.Do(func() { close(s.frozen) }) }

// cede lets the hot pages through that nobody needs before the guest runs, and
// the list of holes: the blackout is the device state's.
func (s *pageServer) cede() {
	s.ceding.Do(func() {
		close(s.ceded)
		s.keep()
	})
}

// allKept notes that all pages are in this host's cache.
func (s *pageServer) allKept() { s.keptAll.Do(func() { close(s.keeping) }) }

// close ends all streams: no byte is read from memory that runs again.
func (s *pageServer) close() {
	s.mu.Lock()
	closed := s.closed
	s.closed = true
	s.mu.Unlock()
	s.thaw()
	s.wait.Wait()
	if s.kept != nil && !closed {
		s.kept.close()
	}
}

// keepIn makes this host's cache keep the pages. It comes before attach.
func (s *pageServer) keepIn(cache PageCache) {
	if cache != nil {
		s.kept = startDepositor(cache)
	}
}

// attach serves the page streams of a link until it dies.
func (s *pageServer) attach(link *quictransport.Link) {
	peer := newPeerCache(s.layout.Pages())
	s.peer.Store(peer)
	s.start(link, link.Demand(), 0, peer, -1)
	for i, stream := range link.Bulk() {
		s.start(link, stream, s.rate, peer, i)
	}
	s.wait.Go(func() {
		if err := s.serveRecipe(link, peer); err != nil && !errors.Is(err, errCookStopped) {
			closeLink(link, err)
		}
	})
}

// start serves one stream: a bulk stream, or the demand stream of number -1.
func (s *pageServer) start(link *quictransport.Link, stream quictransport.Stream, rate uint64, peer *peerCache, bulk int) {
	s.wait.Go(func() {
		if err := s.serve(link, stream, rate, peer, bulk); err != nil {
			closeLink(link, err)
		}
	})
}

// begin sends what the first bulk stream begins with: the pages that go ahead,
// then all holes.
func (s *pageServer) begin(link *quictransport.Link, stream quictransport.Stream, out *answerer) error {
	_, payload, err := wire.ReadFrameOf(stream, nil, wire.TypeAhead)
	if err != nil {
		return fmt.Errorf("read request ahead: %w", err)
	}
	request, err := wire.ParseAhead(payload)
	if err != nil {
		return err
	}
	if err := out.answer(request.Runs[:request.Urgent], true); err != nil {
		return err
	}
	if !s.reached(s.ceded, link) {
		return nil
	}
	if err := out.answer(request.Runs[request.Urgent:], true); err != nil {
		return err
	}
	return s.sendHoles(stream)
}

// reached waits for a step of the switch, and reports whether it came before
// the end of the link or of the migration.
func (s *pageServer) reached(step <-chan struct{}, link *quictransport.Link) bool {
	select {
	case <-step:
		return true
	case <-link.Done():
	case <-s.thawed.Done():
	}
	return false
}

// serve answers the requests of one stream.
func (s *pageServer) serve(link *quictransport.Link, stream quictransport.Stream, rate uint64, peer *peerCache, bulk int) error {
	out, err := s.newAnswerer(stream, rate, peer) // before the guest stands still
	if err != nil || !s.reached(s.frozen, link) {
		return err
	}
	out.isBulk = bulk >= 0
	if bulk == 0 {
		if err := s.begin(link, stream, out); err != nil {
			return err
		}
	}
	out.packs = out.isBulk
	var buffer []byte
	var runs []lazymig.Run
	for s.thawed.Err() == nil {
		_, payload, err := wire.ReadFrameOf(stream, buffer, wire.TypeRequest)
		if err != nil {
			return fmt.Errorf("read page request: %w", err)
		}
		request, err := wire.ParseRequestInto(runs[:0], payload)
		if err != nil {
			return err
		}
		buffer, runs = payload[:0], request.Runs
		if err := out.answer(request.Runs, request.DataOnly); err != nil {
			return err
		}
	}
	return nil
}

// sendHoles names all pages that are holes. Pages that were lost before are
// holes of the file, too, and are left out.
func (s *pageServer) sendHoles(stream quictransport.Stream) error {
	var frame []byte
	absent := wire.Absent{}
	flush := func() error {
		frame = absent.Append(frame[:0])
		absent.Runs = absent.Runs[:0]
		_, err := stream.Write(frame)
		return err
	}
	for region := range s.layout {
		err := s.holes(region, func(run lazymig.Run) error {
			absent.Runs = append(absent.Runs, run)
			if len(absent.Runs) == wire.MaxAbsentRuns {
				return flush()
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("send the holes of %s: %w", s.layout[region].Name, err)
		}
	}
	absent.Last = true
	return flush()
}

// holes calls add for each run of pages between the extents of a region.
func (s *pageServer) holes(region int, add func(lazymig.Run) error) error {
	first := s.layout.First(region)
	next := first
	for offset, length := range s.memory.Extents(region) {
		from := first + lazymig.PageNumber(offset/lazymig.PageSize)
		if err := s.withoutLost(lazymig.Run{First: next, Count: uint64(from - next)}, add); err != nil {
			return err
		}
		next = first + lazymig.PageNumber((offset+length+lazymig.PageSize-1)/lazymig.PageSize)
	}
	end := first + lazymig.PageNumber(s.layout[region].Size/lazymig.PageSize)
	return s.withoutLost(lazymig.Run{First: next, Count: uint64(end - next)}, add)
}

// withoutLost calls add for the parts of run between pages that were lost.
func (s *pageServer) withoutLost(run lazymig.Run, add func(lazymig.Run) error) error {
	for run.Count > 0 {
		part := run
		for p := range s.lost.pages {
			if p >= part.First && p < part.End() {
				part.Count = uint64(p - part.First)
			}
		}
		if part.Count > 0 {
			if err := add(part); err != nil {
				return err
			}
		}
		if part.Count == run.Count {
			return nil
		}
		run = lazymig.Run{First: part.End() + 1, Count: run.Count - part.Count - 1}
	}
	return nil
}

// answerer makes the answers of one stream. One goroutine uses it.
type answerer struct {
	server  *pageServer
	stream  quictransport.Stream
	builder *wire.PagesBuilder
	hasher  *pagecache.Hasher
	pacer   prefetch.Pacer
	digest  [pagecache.DigestSize]byte
	batch   []byte // frames that are not written yet
	// peer is what the other end has, filter what of it need not be sent as
	// data; nil: everything is.
	peer   *peerCache
	filter *pagecache.Filter
	isBulk bool
	// isNew: not even a page that went on the demand stream is left out.
	isNew bool
	// packs: data is compressed where that pays. What goes ahead is not.
	packs  bool
	packer packer
}

func (s *pageServer) newAnswerer(stream quictransport.Stream, rate uint64, peer *peerCache) (*answerer, error) {
	hasher, err := pagecache.NewHasher(s.key)
	if err != nil {
		return nil, err
	}
	return &answerer{
		server: s, stream: stream, peer: peer, hasher: hasher,
		builder: wire.NewPagesBuilder(), pacer: prefetch.Pacer{Rate: rate},
	}, nil
}

// answer sends the pages of runs. Each Write on a stream is handed to another
// goroutine, so short frames go together.
func (a *answerer) answer(runs []lazymig.Run, dataOnly bool) error {
	a.filter, a.isNew = nil, dataOnly
	if !dataOnly {
		a.filter = a.peer.known()
	}
	for _, run := range runs {
		if !a.server.layout.Contains(run) {
			return fmt.Errorf("%w: request for pages %d to %d is outside the guest", wire.ErrMalformed, run.First, run.End())
		}
		for run.Count > 0 {
			n, err := a.read(run)
			if err != nil {
				return err
			}
			if a.packs {
				a.packer.pack(a.builder)
			}
			a.batch = append(a.batch, a.builder.Frame()...)
			if err := a.flush(batchBytes); err != nil {
				return err
			}
			run = lazymig.Run{First: run.First + lazymig.PageNumber(n), Count: run.Count - uint64(n)}
		}
	}
	return a.flush(1)
}

// flush writes the batch if it has at least so many bytes.
func (a *answerer) flush(least int) error {
	if len(a.batch) < least {
		return nil
	}
	defer func() { a.batch = a.batch[:0] }()
	began := time.Now()
	if pause := a.pacer.Wait(began, len(a.batch)); pause > 0 {
		select {
		case <-time.After(pause):
		case <-a.server.thawed.Done():
		}
	}
	if a.server.thawed.Err() != nil {
		return nil
	}
	if _, err := a.stream.Write(a.batch); err != nil {
		return fmt.Errorf("send pages: %w", err)
	}
	a.packer.sent(len(a.batch), time.Since(began))
	return nil
}

// read fills the builder with the first pages of run, as many as one frame
// takes and its region has, and returns their number. Pages that are no data
// leave room for others.
func (a *answerer) read(run lazymig.Run) (int, error) {
	region, offset, _ := a.server.layout.Locate(run.First)
	left := (a.server.layout[region].Size - offset) / lazymig.PageSize
	end := run.First + lazymig.PageNumber(min(run.Count, left, wire.MaxPages))
	a.builder.Reset(run.First)
	for p := run.First; p < end; p = a.builder.Next() {
		n := min(int(end-p), answerPages-a.builder.DataCount())
		if n == 0 {
			break
		}
		if err := a.readPart(p, n, region, offset+uint64(p-run.First)*lazymig.PageSize); err != nil {
			return 0, err
		}
	}
	return a.builder.Count(), nil
}

// readPart adds n pages.
func (a *answerer) readPart(first lazymig.PageNumber, n, region int, offset uint64) error {
	room := a.builder.Room()[:n*lazymig.PageSize]
	_, err := a.server.memory.ReadAt(room, region, offset)
	if errors.Is(err, unix.EIO) && n > 1 {
		return a.readSingly(first, n, region, offset)
	}
	if err != nil && !errors.Is(err, unix.EIO) {
		return fmt.Errorf("read page %d of the guest: %w", first, err)
	}
	for i := range n {
		a.add(first+lazymig.PageNumber(i), room[i*lazymig.PageSize:][:lazymig.PageSize], err != nil)
	}
	return nil
}

// readSingly reads page by page after an error, to find out which is broken.
func (a *answerer) readSingly(first lazymig.PageNumber, n, region int, offset uint64) error {
	for i := range n {
		page := a.builder.Room()[:lazymig.PageSize]
		_, err := a.server.memory.ReadAt(page, region, offset+uint64(i)*lazymig.PageSize)
		if err != nil && !errors.Is(err, unix.EIO) {
			return fmt.Errorf("read page %d of the guest: %w", first+lazymig.PageNumber(i), err)
		}
		a.add(first+lazymig.PageNumber(i), page, err != nil)
	}
	return nil
}

// add puts one page into the answer.
func (a *answerer) add(p lazymig.PageNumber, page []byte, broken bool) {
	switch {
	case a.isBulk && !a.isNew && a.peer != nil && a.peer.wasDemanded(p):
		a.builder.AddElsewhere() // somebody waited for it: it is there, or on its way
		return
	case broken || a.server.lost.has(p):
		a.builder.AddPoison()
	case pagecache.IsZero(page):
		a.builder.AddZero()
	default:
		if a.hasher != nil { // a reader in the same process needs no digest
			a.hasher.Sum(page, a.digest[:])
		}
		if a.filter != nil && a.refers(p, (*pagecache.Digest)(&a.digest)) {
			a.builder.AddRef(&a.digest)
			return
		}
		a.builder.AddData(page, &a.digest)
	}
	if !a.isBulk && a.peer != nil {
		a.peer.markDemanded(p)
	}
}
