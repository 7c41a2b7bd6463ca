package pagecache

import "math/bits"

// ghost remembers about as many pages that have left the small queue as the
// main queue holds, by 32 bits of their tags. Each bucket is a queue of its
// own; since tags are spread evenly, all together behave like one.
type ghost struct {
	buckets [][ghostWays]uint32
}

func newGhost(entries uint32) ghost {
	return ghost{buckets: make([][ghostWays]uint32, max(1, entries/ghostWays))}
}

// place returns the bucket of a tag and what stands for it there, never 0. The
// lowest bits have chosen the shard, the highest choose the bucket.
func (g *ghost) place(tag uint64) (*[ghostWays]uint32, uint32) {
	at, _ := bits.Mul64(tag, uint64(len(g.buckets)))
	return &g.buckets[at], uint32(tag>>4) | 1
}

// add remembers tag; the oldest one of the bucket is forgotten.
func (g *ghost) add(tag uint64) {
	bucket, mark := g.place(tag)
	copy(bucket[1:], bucket[:ghostWays-1])
	bucket[0] = mark
}

// take reports whether tag is remembered, and forgets it.
func (g *ghost) take(tag uint64) bool {
	bucket, mark := g.place(tag)
	for i, m := range bucket {
		if m == mark {
			copy(bucket[i:], bucket[i+1:])
			bucket[ghostWays-1] = 0
			return true
		}
	}
	return false
}
