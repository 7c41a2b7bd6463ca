package pagecache

import (
	"encoding/binary"
	"iter"
	"math/bits"

	"github.com/lazymig/lazymig"
)

// table finds the block of a digest. Its entries are in the order of the
// digests. The first bits of a digest are the number of its bucket, four to
// eight entries long, and the second four bytes are compared: so an entry
// takes 8.5 to 9 bytes, and some pages in a billion are found where they are
// not, which their content shows.
type table struct {
	shift  int
	starts []uint32 // of each bucket, and the end of the last
	tags   []uint32
	blocks []uint32
	filled int // buckets that have their start
}

// bucketBits returns how many bits of a digest are the number of a bucket.
func bucketBits(entries uint64) int { return max(bits.Len64(entries)-3, 0) }

func tableBytes(entries uint64) int64 {
	return int64(8*entries + 4*(1+1<<bucketBits(entries)))
}

// newTable returns an empty table for that many entries.
func newTable(entries uint64) *table {
	buckets := bucketBits(entries)
	return &table{
		shift:  32 - buckets,
		starts: make([]uint32, 1+1<<buckets),
		tags:   make([]uint32, 0, entries),
		blocks: make([]uint32, 0, entries),
	}
}

func (t *table) bucket(digest []byte) int {
	return int(binary.BigEndian.Uint32(digest) >> t.shift) // a shift by 32 is 0
}

func tagOf(digest []byte) uint32 { return binary.BigEndian.Uint32(digest[4:]) }

// add appends an entry whose digest is above those before.
func (t *table) add(digest []byte, block uint32) {
	for bucket := t.bucket(digest); t.filled <= bucket; t.filled++ {
		t.starts[t.filled] = uint32(len(t.tags))
	}
	t.tags = append(t.tags, tagOf(digest))
	t.blocks = append(t.blocks, block)
}

// finish must follow the last add.
func (t *table) finish() {
	for ; t.filled < len(t.starts); t.filled++ {
		t.starts[t.filled] = uint32(len(t.tags))
	}
}

// find yields the blocks that may have a digest: nearly always none or one.
func (t *table) find(d *Digest) iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		bucket, tag := t.bucket(d[:]), tagOf(d[:])
		from, to := t.starts[bucket], t.starts[bucket+1]
		for i, other := range t.tags[from:to] {
			if other == tag && !yield(t.blocks[from+uint32(i)]) {
				return
			}
		}
	}
}

// has reports whether the digest is that of the block.
func (t *table) has(d *Digest, block uint32) bool {
	for found := range t.find(d) {
		if found == block {
			return true
		}
	}
	return false
}

// offsetOf returns where a block is in its file.
func offsetOf(block uint32) int64 { return int64(block) * lazymig.PageSize }
