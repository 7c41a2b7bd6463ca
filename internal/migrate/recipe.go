package migrate

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/internal/wire"
	"github.com/lazymig/lazymig/pagecache"
)

// PageCache is content that this host has: pages by their digests. Its methods
// may be called from any goroutine.
type PageCache interface {
	// Read fills page, of PageSize bytes, with the content whose digest is d,
	// and reports whether it could. What it returns is checked against d. It
	// waits for storage, for ever if that hangs.
	Read(d pagecache.Digest, page []byte) bool
	// Peek is Read for content that is in this host's memory. wait says that
	// Read might find more.
	Peek(d pagecache.Digest, page []byte) (ok, wait bool)
	// Put offers a page whose digest was checked. It may be dropped.
	Put(d pagecache.Digest, page []byte)
	// Filter returns the membership filter of what there is, as the wire has
	// it; nothing if there is nothing.
	Filter() ([]byte, error)
}

// recipeBlock is how many digests are allocated at once.
const recipeBlock = 64

// recipe holds the digests of pages that this host is likely to have, as the
// source has hashed them after the freeze. The installer's goroutine owns it.
// A nil *recipe has no digests.
type recipe struct {
	has    bitmap
	blocks []*[recipeBlock]pagecache.Digest
	queue  []lazymig.Run // not looked up yet, in the order of the recipe
	// gone says that the storage of the cache does not answer: everything has
	// to come as data from now on.
	gone bool
	// noQueue says that nobody takes runs off the queue.
	noQueue bool
}

func newRecipe(pages uint64) *recipe {
	return &recipe{has: newBitmap(pages), blocks: make([]*[recipeBlock]pagecache.Digest, (pages+recipeBlock-1)/recipeBlock)}
}

// knows reports whether page p has a digest.
func (r *recipe) knows(p lazymig.PageNumber) bool { return r != nil && r.has.has(p) }

// expects returns the pages that have a digest.
func (r *recipe) expects() bitmap {
	if r == nil {
		return nil
	}
	return r.has
}

// digest returns the digest of a page that has one.
func (r *recipe) digest(p lazymig.PageNumber) *pagecache.Digest {
	return &r.blocks[p/recipeBlock][p%recipeBlock]
}

// learn notes the digests of the pages of run. One that has a digest already is in
// the queue, or is looked for: it is not queued twice.
func (r *recipe) learn(run lazymig.Run, digests []byte) {
	if r.gone {
		return
	}
	for p := run.First; p < run.End(); p++ {
		block := &r.blocks[p/recipeBlock]
		if *block == nil {
			*block = new([recipeBlock]pagecache.Digest)
		}
		copy((*block)[p%recipeBlock][:], digests)
		digests = digests[pagecache.DigestSize:]
		if !r.has.has(p) {
			r.has.set(p)
			r.enqueue(p)
		}
	}
}

// enqueue puts a page at the end of the queue.
func (r *recipe) enqueue(p lazymig.PageNumber) {
	if r.noQueue {
		return
	}
	if last := len(r.queue) - 1; last >= 0 && r.queue[last].End() == p {
		r.queue[last].Count++
		return
	}
	r.queue = append(r.queue, lazymig.Run{First: p, Count: 1})
}

// next takes a run of at most limit pages off the queue for which want says yes.
func (r *recipe) next(limit uint64, want func(lazymig.PageNumber) bool) (lazymig.Run, bool) {
	for len(r.queue) > 0 {
		head := &r.queue[0]
		run := lazymig.Run{First: head.First}
		for head.Count > 0 && run.Count < limit && want(head.First) {
			head.First, head.Count, run.Count = head.First+1, head.Count-1, run.Count+1
		}
		if run.Count > 0 {
			return run, true
		}
		if head.Count > 0 {
			head.First, head.Count = head.First+1, head.Count-1
			continue
		}
		r.queue = r.queue[1:]
	}
	return lazymig.Run{}, false
}

// last takes at most limit pages off the end of the queue.
func (r *recipe) last(limit uint64) (lazymig.Run, bool) {
	end := len(r.queue) - 1
	if end < 0 {
		return lazymig.Run{}, false
	}
	tail := &r.queue[end]
	n := min(limit, tail.Count)
	tail.Count -= n
	run := lazymig.Run{First: tail.End(), Count: n}
	if tail.Count == 0 {
		r.queue = r.queue[:end]
	}
	return run, true
}

// applyRecipe notes what the source says that pages are made of, and serves
// those that somebody waits for.
func (in *installer) applyRecipe(f *wire.Recipe) error {
	p, digests := f.First, f.Digests
	for _, part := range f.Parts {
		run := lazymig.Run{First: p, Count: uint64(part.Count)}
		p = run.End()
		switch part.Kind {
		case wire.RecipeZero:
			in.learnZeros(run)
		case wire.RecipeDigest:
			bytes := pagecache.DigestSize * int(part.Count)
			in.recipe.learn(run, digests[:bytes])
			digests = digests[bytes:]
		case wire.RecipeData:
			// It is missing, and the background asks for it.
		}
	}
	if f.Last {
		in.counters.markRecipe(in.running())
	}
	return in.serveWaiting()
}

// serveWaiting answers the faults for which nothing is needed from the source
// any more.
func (in *installer) serveWaiting() error {
	for p := range in.table.demanded {
		var err error
		whole, huge := in.whole(p)
		switch {
		case huge:
			_, err = in.complete(whole)
		case in.table.readsZero(p):
			err = in.installZero(p)
		case in.recipe.knows(p):
			err = in.installCached(p)
		}
		if err != nil {
			return err
		}
	}
	return in.completeAll()
}

// installCached answers a fault on p from the cache, or by the source if the
// page is not there after all.
func (in *installer) installCached(p lazymig.PageNumber) error {
	ok, wait := in.cache.Peek(*in.recipe.digest(p), in.page)
	if !ok {
		if !wait || !in.lookUpNow(p) {
			in.lack(p)
			in.demand(p)
		}
		return nil
	}
	address, _ := in.spans.address(p)
	_, err := in.handle.Copy(address, in.page)
	switch {
	case err == nil:
		in.table.markInstalled(p, 1)
		in.arrived(fromCache, lazymig.Run{First: p, Count: 1})
		in.answered(p, in.counters.faultCache, time.Time{}) // somebody has waited since it was demanded
		return nil
	case errors.Is(err, unix.EEXIST):
		return in.surprise(p)
	}
	return in.postpone(p, fmt.Errorf("install page %d from the cache: %w", p, err))
}

// lack notes that this host does not have p, whatever its filter said: the
// source must send it as data.
func (in *installer) lack(p lazymig.PageNumber) {
	in.recipe.has.clear(p)
	in.table.dataOnly.set(p)
	if whole, huge := in.whole(p); huge && in.huge.open[whole.First] != nil {
		in.huge.open[whole.First].looked[p-whole.First] = false
	}
}

// learnRef notes a page of an answer that says only what it is made of.
func (in *installer) learnRef(a *answer, i int) error {
	p := a.pages.First + lazymig.PageNumber(i)
	if a.local {
		in.miss(p)
		return nil
	}
	in.table.requested.clear(p)
	if in.recipe == nil || in.table.refs[p] >= refLimit {
		a.from.end(fmt.Errorf("%w: a reference for page %d, which must be data", wire.ErrMalformed, p))
		return nil
	}
	if in.mustBeData(lazymig.Run{First: p, Count: 1}) { // it was asked for before that was known
		in.table.refs[p]++
		if in.waits(p) {
			in.demand(p)
		}
		return nil
	}
	in.recipe.learn(lazymig.Run{First: p, Count: 1}, a.pages.Digest(i))
	if whole, huge := in.whole(p); huge {
		return in.referPart(whole, p)
	}
	if _, waits := in.table.demanded[p]; waits {
		return in.installCached(p)
	}
	return nil
}
