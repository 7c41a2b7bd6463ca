package migrate

import (
	"encoding/binary"
	"sync/atomic"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/pagecache"
)

// peerCache is what a source knows of the cache of the host at the other end of
// a link.
type peerCache struct {
	// told is closed when the peer has said what it has.
	told chan struct{}
	// filter is what it has; nil: it has no cache. Set before told is closed,
	// sent before filter.
	filter atomic.Pointer[pagecache.Filter]
	sent   *duplicates
	// demanded has a bit for each page that was sent on the demand stream.
	demanded []atomic.Uint64
}

func newPeerCache(pages uint64) *peerCache {
	return &peerCache{told: make(chan struct{}), demanded: make([]atomic.Uint64, (pages+63)/64)}
}

// markDemanded notes that page p was sent on the demand stream.
func (c *peerCache) markDemanded(p lazymig.PageNumber) { c.demanded[p/64].Or(1 << (p % 64)) }

// wasDemanded reports whether it was.
func (c *peerCache) wasDemanded(p lazymig.PageNumber) bool {
	return c.demanded[p/64].Load()&(1<<(p%64)) != 0
}

// learn notes what the peer has; nil: nothing.
func (c *peerCache) learn(filter *pagecache.Filter) {
	if filter != nil {
		c.sent = newDuplicates()
		c.filter.Store(filter)
	}
	close(c.told)
}

// known returns what the peer has said to have, or nil.
func (c *peerCache) known() *pagecache.Filter {
	if c == nil {
		return nil
	}
	return c.filter.Load()
}

// duplicates remembers pages that have gone over the wire, so that their like
// goes as a reference. It has a place for one page in each of maxDuplicates
// buckets, and forgets the one before: a page that it has forgotten goes twice.
// Any number of goroutines may use it.
type duplicates struct {
	tags []atomic.Uint64
}

func newDuplicates() *duplicates { return &duplicates{tags: make([]atomic.Uint64, maxDuplicates)} }

// seen reports whether a page of this digest has come before, very likely, and
// remembers it.
func (s *duplicates) seen(d *pagecache.Digest) bool {
	tag := binary.LittleEndian.Uint64(d[:]) | 1 // 0 is nobody's
	place := &s.tags[binary.LittleEndian.Uint32(d[8:])%maxDuplicates]
	return place.Swap(tag) == tag
}

// refers reports whether the peer very likely has page p, whose digest is d.
// Whoever waits for a page gets it as data even if its like was sent, since that
// may be on its way to the cache still.
func (a *answerer) refers(p lazymig.PageNumber, d *pagecache.Digest) bool {
	return a.filter.Contains(*d) || a.server.warmth.has(p, d) || a.isBulk && a.peer.sent.seen(d)
}
