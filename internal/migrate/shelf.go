package migrate

import (
	"context"
	"runtime"
	"time"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/internal/wire"
	"github.com/lazymig/lazymig/pagecache"
)

// shelf looks pages up in the cache where that may have to wait for storage. It
// owns the answers that its lookups go out with.
type shelf struct {
	cache  PageCache
	in     *installer
	slow   lookups // of the background
	urgent lookups // of pages that somebody waits for

	// The installer owns what follows: the answers that are looked for, the
	// pages of those that somebody waits for, and when one of the background
	// came last.
	out     map[*answer]struct{}
	looking map[lazymig.PageNumber]struct{}
	moved   time.Time
}

// lookups is a queue of lookups, and the answers for more.
type lookups struct {
	free, asked chan *answer
}

// lookup is what an answer of the shelf was asked for.
type lookup struct {
	run     lazymig.Run
	digests [chunkPages]pagecache.Digest
	builder *wire.PagesBuilder
	due     time.Time // when it has taken too long
	late    bool      // it has, and the source is asked
}

// startShelf starts the goroutines; they end with ctx, unless storage hangs.
func startShelf(ctx context.Context, cache PageCache, in *installer) *shelf {
	s := &shelf{cache: cache, in: in, out: map[*answer]struct{}{}, looking: map[lazymig.PageNumber]struct{}{}}
	readers := min(runtime.NumCPU(), maxShelfReaders)
	s.slow = s.start(ctx, readers, 2*readers, in.bulk)
	s.urgent = s.start(ctx, urgentReaders, maxUrgent, in.demands)
	return s
}

// start starts goroutines that look up for out, with so many answers.
func (s *shelf) start(ctx context.Context, readers, answers int, out chan<- *answer) lookups {
	l := lookups{free: make(chan *answer, answers), asked: make(chan *answer, answers)}
	for range answers {
		l.free <- &answer{local: true, home: l.free, lookup: &lookup{builder: wire.NewPagesBuilder()}}
	}
	for range readers {
		go s.serveLookups(ctx, l.asked, out) // not waited for: it may hang with the storage
	}
	return l
}

func (s *shelf) serveLookups(ctx context.Context, asked <-chan *answer, out chan<- *answer) {
	for {
		var a *answer
		select {
		case a = <-asked:
		case <-ctx.Done():
			return
		}
		a.lookup.read(s.cache)
		a.pages, _ = a.lookup.builder.Pages() // we have just built it
		select {
		case out <- a:
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

// lookUp has the shelf look for the pages of the recipe that are missing, as
// far as it has answers to spare.
func (in *installer) lookUp() {
	if in.shelf == nil || in.onDemand || !in.committed.Load() || in.storming() {
		return
	}
	want := func(p lazymig.PageNumber) bool {
		_, huge := in.whole(p) // these are looked for when they are gathered
		return !huge && in.recipe.has.has(p) && !in.table.known(p)
	}
	for len(in.shelf.slow.free) > 0 && len(in.recipe.queue) > 0 {
		run, ok := in.recipe.next(chunkPages, want)
		if !ok {
			return
		}
		in.shelf.ask(&in.shelf.slow, run, in.recipe, slowLimit)
	}
}

// lookUpNow looks for a page that somebody waits for, unless too many are. It may
// take a few times as long as the source takes.
func (in *installer) lookUpNow(p lazymig.PageNumber) bool {
	if _, looking := in.shelf.looking[p]; looking {
		return true
	}
	if len(in.shelf.urgent.free) == 0 {
		return false
	}
	limit := urgentLimit
	if in.remote > 0 {
		limit = min(limit, max(4*in.remote, urgentLeast))
	}
	in.shelf.looking[p] = struct{}{}
	in.shelf.ask(&in.shelf.urgent, lazymig.Run{First: p, Count: 1}, in.recipe, limit)
	return true
}

// ask looks for the pages of run. There must be a free answer.
func (s *shelf) ask(l *lookups, run lazymig.Run, r *recipe, limit time.Duration) {
	a := <-l.free
	now := time.Now()
	a.lookup.run, a.lookup.due, a.lookup.late = run, now.Add(limit), false
	for i := range run.Count {
		a.lookup.digests[i] = *r.digest(run.First + lazymig.PageNumber(i))
	}
	if len(s.out) == 0 {
		s.moved = now
	}
	s.out[a] = struct{}{}
	l.asked <- a
}

// loseLookups gives up those that take too long: the source has the pages. When
// none of the background has come for long, the storage hangs, and the whole
// cache is given up.
func (in *installer) loseLookups() error {
	if in.shelf == nil || len(in.shelf.out) == 0 {
		return nil
	}
	now := time.Now()
	for a := range in.shelf.out {
		if a.lookup.late || !now.After(a.lookup.due) {
			continue
		}
		a.lookup.late = true
		for p := a.lookup.run.First; p < a.lookup.run.End(); p++ {
			in.miss(p)
		}
		if a.home == in.shelf.urgent.free {
			delete(in.shelf.out, a)
		}
	}
	if len(in.shelf.slow.free) > 0 || now.Sub(in.shelf.moved) < lookupLimit || in.recipe.gone {
		return nil
	}
	in.message("the storage of the cache does not answer: goes on without the cache")
	in.hung.Store(true)
	in.recipe.gone, in.recipe.queue = true, nil
	in.recipe.has.reset()
	clear(in.shelf.out)
	return in.demandAll()
}

// pass has the source asked for pages that the shelf would come to last, and
// reports whether there are any: a link does not stand still for slow storage.
func (in *installer) pass() bool {
	if in.shelf == nil || len(in.shelf.slow.free) > 0 || time.Since(in.shelf.moved) < slowLimit {
		return false
	}
	run, ok := in.recipe.last(chunkPages)
	for p := run.First; p < run.End(); p++ {
		if !in.table.known(p) {
			in.lack(p)
		}
	}
	return ok
}

// miss notes that a page was looked for in vain.
func (in *installer) miss(p lazymig.PageNumber) {
	delete(in.shelf.looking, p)
	if in.table.known(p) {
		return
	}
	in.lack(p)
	if in.waits(p) {
		in.demand(p)
	}
}

// looked notes that a lookup has come back.
func (s *shelf) looked(a *answer) {
	delete(s.out, a)
	if a.home == s.urgent.free {
		delete(s.looking, a.lookup.run.First)
	} else {
		s.moved = time.Now()
	}
}
