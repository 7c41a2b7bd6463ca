package migrate

import (
	"sync/atomic"
	"time"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/internal/wire"
	"github.com/lazymig/lazymig/pagecache"
)

// depositor puts pages into a cache on a goroutine of its own, since storage may
// be slow, or hang. Pages are copied into deposits, of which there are few: who
// finds none drops its pages, or waits a little. Any goroutine may use it.
type depositor struct {
	cache PageCache
	free  chan *deposit
	full  chan *deposit // has room for all
	done  chan struct{} // closed by close
	ended chan struct{}
	hangs atomic.Bool // somebody has waited for too long
}

// deposit is some pages and their digests, which were checked.
type deposit struct {
	digests []pagecache.Digest
	pages   []byte
}

// startDepositor starts the goroutine, which ends with close.
func startDepositor(cache PageCache) *depositor {
	d := &depositor{
		cache: cache, done: make(chan struct{}), ended: make(chan struct{}),
		free: make(chan *deposit, maxDeposits), full: make(chan *deposit, maxDeposits),
	}
	for range maxDeposits {
		d.free <- &deposit{}
	}
	go d.serve()
	return d
}

func (d *depositor) serve() {
	defer close(d.ended)
	for {
		select {
		case next := <-d.full:
			d.fill(next)
		case <-d.done:
			for len(d.full) > 0 {
				d.fill(<-d.full)
			}
			return
		}
	}
}

// fill puts the pages of a deposit into the cache.
func (d *depositor) fill(next *deposit) {
	for i, digest := range next.digests {
		d.cache.Put(digest, next.pages[i*lazymig.PageSize:][:lazymig.PageSize])
	}
	d.free <- next
}

// take returns an empty deposit, or nil if there is none.
func (d *depositor) take() *deposit {
	select {
	case next := <-d.free:
		next.digests, next.pages = next.digests[:0], next.pages[:0]
		return next
	default:
		return nil
	}
}

// wait is take for those who can wait for a while. Once that was in vain, nobody
// waits any more.
func (d *depositor) wait() *deposit {
	if next := d.take(); next != nil || d.hangs.Load() {
		return next
	}
	select {
	case next := <-d.free:
		next.digests, next.pages = next.digests[:0], next.pages[:0]
		return next
	case <-time.After(depositLimit):
		d.hangs.Store(true)
		return nil
	}
}

// add copies a page into the deposit.
func (d *deposit) add(digest []byte, page []byte) {
	d.digests = append(d.digests, pagecache.Digest(digest))
	d.pages = append(d.pages, page...)
}

// addAnswer copies the good pages of an answer into the deposit.
func (d *deposit) addAnswer(a *answer) {
	for i := range a.pages.Count() {
		if a.pages.Kind(i) == wire.KindData && a.bad&(1<<i) == 0 {
			d.add(a.pages.Digest(i), a.pages.Data(i))
		}
	}
}

// put has the pages put into the cache. Behind close they are dropped.
func (d *depositor) put(next *deposit) { d.full <- next }

// close waits until all pages are in the cache, unless that hangs. It is called
// once.
func (d *depositor) close() {
	close(d.done)
	select {
	case <-d.ended:
	case <-time.After(depositLimit):
	}
}
