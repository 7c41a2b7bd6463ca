package migrate

import (
	"encoding/binary"
	"sync/atomic"

	"github.com/lazymig/lazymig/pagecache"
)

// duplicates remembers pages that have gone over the wire, so that their like
// goes as a reference. It has a place for one page each in maxDuplicates
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
