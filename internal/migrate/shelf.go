package migrate

import (
	"context"
	"runtime"
	"sync"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/internal/wire"
	"github.com/lazymig/lazymig/pagecache"
)

// shelf looks pages up in the cache for the background, and puts pages there
// that have arrived. It has goroutines for each and owns the answers that its
// lookups go out with.
type shelf struct {
	cache   PageCache
	in      *installer
	free    chan *answer
	lookups chan *answer
	fills   chan *answer
	wait    sync.WaitGroup
}

// lookup is what an answer of the shelf was asked for.
type lookup struct {
	run     lazymig.Run
	digests [chunkPages]pagecache.Digest
	builder *wire.PagesBuilder
}

// startShelf starts the goroutines; they end with ctx.
func startShelf(ctx context.Context, cache PageCache, in *installer) *shelf {
	readers := min(runtime.NumCPU(), maxShelfReaders)
	s := &shelf{
		cache: cache, in: in,
		free: make(chan *answer, 2*readers), lookups: make(chan *answer, 2*readers),
		fills: make(chan *answer, fillQueue),
	}
	for range 2 * readers {
		s.free <- &answer{local: true, home: s.free, lookup: &lookup{builder: wire.NewPagesBuilder()}}
	}
	for range readers {
		s.wait.Go(func() { s.serveLookups(ctx) })
	}
	s.wait.Go(func() { s.serveFills(ctx) })
	return s
}

func (s *shelf) serveLookups(ctx context.Context) {
	for {
		var a *answer
		select {
		case a = <-s.lookups:
		case <-ctx.Done():
			return
		}
		a.lookup.read(s.cache)
		a.pages, _ = a.lookup.builder.Pages() // we have just built it
		select {
		case s.in.bulk <- a:
			s.in.reader.Wakeup()
		case <-ctx.Done():
			return
		}
	}
}

// read builds the answer: data for what is there, references for the rest.
func (l *lookup) read(cache PageCache) {
	l.builder.Reset(l.run.First)
	for i := range int(l.run.Count) {
		d := &l.digests[i]
		page := l.builder.Room()[:lazymig.PageSize]
		if cache.Read(*d, page) {
			l.builder.AddData(page, (*[pagecache.DigestSize]byte)(d))
		} else {
			l.builder.AddRef((*[pagecache.DigestSize]byte)(d))
		}
	}
}

// take keeps an answer until its pages are in the cache; false if there is no
// room. urgent answers are few, and others wait for their buffers.
func (s *shelf) take(a *answer, urgent bool) bool {
	if urgent && len(s.fills) > urgentFills {
		return false
	}
	select {
	case s.fills <- a:
		return true
	default:
		return false
	}
}

func (s *shelf) serveFills(ctx context.Context) {
	for {
		select {
		case a := <-s.fills:
			s.fill(a)
		case <-ctx.Done():
			for len(s.fills) > 0 {
				s.fill(<-s.fills)
			}
			return
		}
	}
}

// fill puts the pages of an answer into the cache.
func (s *shelf) fill(a *answer) {
	for i := range a.pages.Count() {
		if a.pages.Kind(i) == wire.KindData && a.bad&(1<<i) == 0 {
			s.cache.Put(pagecache.Digest(a.pages.Digest(i)), a.pages.Data(i))
		}
	}
	a.home <- a
}

// lookUp has the shelf look for the pages of the recipe that are missing, as
// far as it has answers to spare.
func (in *installer) lookUp() {
	if in.shelf == nil || !in.committed.Load() || in.storming() {
		return
	}
	want := func(p lazymig.PageNumber) bool { return in.recipe.has.has(p) && !in.table.known(p) }
	for len(in.shelf.free) > 0 && len(in.recipe.queue) > 0 {
		run, ok := in.recipe.next(chunkPages, want)
		if !ok {
			return
		}
		a := <-in.shelf.free
		a.lookup.run = run
		for i := range run.Count {
			a.lookup.digests[i] = *in.recipe.digest(run.First + lazymig.PageNumber(i))
		}
		in.shelf.lookups <- a
	}
}
