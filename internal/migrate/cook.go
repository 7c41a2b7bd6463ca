package migrate

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/internal/wire"
	"github.com/lazymig/lazymig/pagecache"
	"github.com/lazymig/lazymig/quictransport"
)

// A cook hashes the frozen guest, the hot pages first, then all from the first
// to the last. It tells the destination what the pages are made of, for those
// that the destination is likely to have, and keeps the pages in this host's
// cache. Its hashers have threads of a low priority: whoever waits for a page
// comes first.
//
//	feeder ─▶ hashers (one for each processor) ─┐
//	   └──────── in order ────────────────────▶ writer ─▶ recipe stream
type cook struct {
	server *pageServer
	stop   <-chan struct{}   // closed when nobody wants to know any more
	filter *pagecache.Filter // nil: nobody wants a recipe
	deaf   bool              // nobody listens any more
	keep   bool              // the cache of this host is filled
	write  func([]byte) error

	frame wire.Recipe
	bytes []byte
}

// dish is one chunk of the guest on its way through a cook.
type dish struct {
	run     lazymig.Run
	kinds   [chunkPages]wire.RecipeKind
	digests [chunkPages]pagecache.Digest
	ready   chan error // has one value when it is hashed
}

// serveRecipe takes the destination's filter and answers with the recipe.
func (s *pageServer) serveRecipe(link *quictransport.Link, peer *peerCache) error {
	filter, err := readFilter(link.Recipe())
	if err != nil {
		return err
	}
	peer.learn(filter)
	if filter == nil {
		return nil
	}
	if !s.reached(s.ceded, link) {
		return nil
	}
	if _, rtt := link.RTT(); rtt <= farRTT && !s.calmed(link.Done()) {
		return nil
	}
	c := &cook{server: s, filter: filter, stop: link.Done(), keep: s.mayKeep(), write: func(b []byte) error {
		_, err := link.Recipe().Write(b)
		return err
	}}
	if c.keep {
		c.stop = nil // the cache of this host wants to know to the end
	}
	if err := c.run(); err != nil {
		return fmt.Errorf("send the recipe: %w", err)
	}
	return nil
}

// mayKeep makes the caller's cook the one that fills this host's cache, if that
// is wanted and no other does it.
func (s *pageServer) mayKeep() bool {
	select {
	case <-s.keeping:
		return false
	default:
		return s.kept != nil && s.cooking.CompareAndSwap(false, true)
	}
}

// calmed waits until the guest's first faults are over, unless gone is closed or
// the memory is. On a long path each of them takes so long that the recipe is
// worth the processors that it takes from them, so nobody waits there.
func (s *pageServer) calmed(gone <-chan struct{}) bool {
	select {
	case <-time.After(stormTime):
		return true
	case <-gone:
	case <-s.thawed.Done():
	}
	return false
}

// stepBack gives the calling goroutine a thread that takes no processor from
// anybody who wakes up, a third of the weight of others, and that ends with it.
func stepBack() {
	runtime.LockOSThread()
	batch := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_BATCH, Nice: cookNice}
	_ = unix.SchedSetAttr(0, &batch, 0) // it works as well without
}

// readFilter reads the filter whole; nil if the destination has none.
func readFilter(stream io.Reader) (*pagecache.Filter, error) {
	var whole, buffer []byte
	for {
		_, payload, err := wire.ReadFrameOf(stream, buffer, wire.TypeFilter)
		if err != nil {
			return nil, fmt.Errorf("read the destination's filter: %w", err)
		}
		f, err := wire.ParseFilter(payload)
		if err != nil {
			return nil, err
		}
		if f.Size == 0 && whole == nil {
			return nil, nil
		}
		if whole == nil {
			whole = make([]byte, 0, f.Size)
		}
		if int(f.Size) != cap(whole) || len(whole)+len(f.Data) > cap(whole) {
			return nil, fmt.Errorf("%w: the parts of a filter do not fit", wire.ErrMalformed)
		}
		buffer = payload[:0]
		if whole = append(whole, f.Data...); len(whole) == cap(whole) {
			filter, err := pagecache.ParseFilter(whole)
			if err != nil {
				err = fmt.Errorf("%w: %w", wire.ErrMalformed, err)
			}
			return filter, err
		}
	}
}

// keep fills this host's cache if no recipe does that.
func (s *pageServer) keep() {
	if s.kept != nil && s.peer.Load().known() == nil {
		s.keepAlone()
	}
}

// keepAlone fills this host's cache, and tells nobody of it.
func (s *pageServer) keepAlone() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.wait.Go(func() {
		if !s.calmed(nil) || !s.mayKeep() {
			return
		}
		c := &cook{server: s, keep: true}
		_ = c.run() // memory that cannot be read is the answers' trouble
	})
}

// run hashes the guest once.
func (c *cook) run() (err error) {
	if c.keep {
		defer func() {
			c.server.cooking.Store(false)
			if err == nil {
				c.server.allKept()
			}
		}()
	}
	hashers := min(runtime.NumCPU(), maxCooks)
	dishes := make(chan *dish, 4*hashers)
	for range cap(dishes) {
		dishes <- &dish{ready: make(chan error, 1)}
	}
	raw, order := make(chan *dish, cap(dishes)), make(chan *dish, cap(dishes))
	done := make(chan struct{})
	var wait sync.WaitGroup
	defer wait.Wait()
	defer close(done)
	wait.Go(func() {
		defer close(raw)
		defer close(order)
		c.feed(done, dishes, raw, order)
	})
	for range hashers {
		wait.Go(func() { c.hash(raw) })
	}
	for d := range order {
		if err := <-d.ready; err != nil {
			return err
		}
		if err := c.serve(d); err != nil {
			return err
		}
		dishes <- d
	}
	select {
	case <-c.stop:
		return errCookStopped
	case <-c.server.thawed.Done():
		return errCookStopped
	default:
	}
	return c.flush(true)
}

// errCookStopped ends a cook that nobody wants to hear any more.
var errCookStopped = errors.New("the recipe is wanted no more")

// feed hands chunks of the guest to the hashers until done.
func (c *cook) feed(done <-chan struct{}, dishes <-chan *dish, raw, order chan<- *dish) {
	for run := range c.server.chunks() {
		if c.server.thawed.Err() != nil {
			return
		}
		select {
		case d := <-dishes:
			d.run = run
			raw <- d
			order <- d
		case <-done:
			return
		case <-c.stop:
			return
		case <-c.server.thawed.Done():
			return
		}
	}
}

// chunks yields the hot pages, then all pages that are not holes, in runs of at
// most chunkPages within a region.
func (s *pageServer) chunks() iter.Seq[lazymig.Run] {
	return func(yield func(lazymig.Run) bool) {
		for _, run := range s.hot {
			if !yield(run) {
				return
			}
		}
		for region := range s.layout {
			first := s.layout.First(region)
			for offset, length := range s.memory.Extents(region) {
				from := first + lazymig.PageNumber(offset/lazymig.PageSize)
				end := first + lazymig.PageNumber((offset+length+lazymig.PageSize-1)/lazymig.PageSize)
				for from < end {
					run := lazymig.Run{First: from, Count: min(chunkPages, uint64(end-from))}
					if !yield(run) {
						return
					}
					from = run.End()
				}
			}
		}
	}
}

// hash finds out what pages are made of.
func (c *cook) hash(raw <-chan *dish) {
	stepBack()
	buffer := make([]byte, chunkPages*lazymig.PageSize)
	hasher, err := pagecache.NewHasher(c.server.key)
	for d := range raw {
		if err == nil {
			c.look(d, hasher, buffer)
		}
		d.ready <- err
	}
}

// look reads and hashes one chunk. What cannot be read has to be asked for.
func (c *cook) look(d *dish, hasher *pagecache.Hasher, buffer []byte) {
	s := c.server
	region, offset, _ := s.layout.Locate(d.run.First)
	pages := buffer[:d.run.Count*lazymig.PageSize]
	_, err := s.memory.ReadAt(pages, region, offset)
	var keep *deposit
	if c.keep {
		keep = s.kept.wait()
	}
	for i := range d.run.Count {
		page := pages[i*lazymig.PageSize:][:lazymig.PageSize]
		d.kinds[i] = wire.RecipeData
		switch {
		case err != nil || s.lost.has(d.run.First+lazymig.PageNumber(i)):
			continue
		case pagecache.IsZero(page):
			d.kinds[i] = wire.RecipeZero
			continue
		}
		hasher.Sum(page, d.digests[i][:])
		if keep != nil {
			keep.add(d.digests[i][:], page)
		}
		if c.filter != nil && (c.filter.Contains(d.digests[i]) || s.warmth.has(d.run.First+lazymig.PageNumber(i), &d.digests[i])) {
			d.kinds[i] = wire.RecipeDigest
		}
	}
	if keep != nil {
		s.kept.put(keep)
	}
}

// serve adds a chunk to the recipe. Pages that have to be asked for are
// mentioned only between others.
func (c *cook) serve(d *dish) error {
	if c.filter == nil || c.deaf {
		return nil
	}
	f := &c.frame
	if len(f.Parts) > 0 && f.First+lazymig.PageNumber(f.Pages()) != d.run.First || f.Pages() > recipePages {
		if err := c.flush(false); err != nil {
			return err
		}
	}
	for i := range int(d.run.Count) {
		last := len(f.Parts) - 1
		switch {
		case last >= 0 && f.Parts[last].Kind == d.kinds[i]:
			f.Parts[last].Count++
		case last < 0 && d.kinds[i] == wire.RecipeData:
			continue
		default:
			if last < 0 {
				f.First = d.run.First + lazymig.PageNumber(i)
			}
			f.Parts = append(f.Parts, wire.RecipePart{Kind: d.kinds[i], Count: 1})
		}
		if d.kinds[i] == wire.RecipeDigest {
			f.Digests = append(f.Digests, d.digests[i][:]...)
		}
	}
	return nil
}

// flush writes what there is of a frame; the last one even if there is nothing.
func (c *cook) flush(last bool) error {
	f := &c.frame
	if n := len(f.Parts); n > 0 && f.Parts[n-1].Kind == wire.RecipeData {
		f.Parts = f.Parts[:n-1]
	}
	f.Last = last
	if !c.deaf && (len(f.Parts) > 0 || last && c.filter != nil) {
		c.bytes = f.Append(c.bytes[:0])
		if err := c.write(c.bytes); err != nil {
			if !c.keep {
				return err
			}
			c.deaf = true // but the cache is filled
		}
	}
	f.Parts, f.Digests = f.Parts[:0], f.Digests[:0]
	return nil
}
