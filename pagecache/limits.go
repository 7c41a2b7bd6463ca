package pagecache

import "github.com/lazymig/lazymig"

// Sizes of a Store, in bytes.
const (
	// DefaultBytes is the budget of a Store whose Config has none: small enough
	// for the memory of any host that runs guests.
	DefaultBytes = int64(1) << 30
	// MinBytes is the smallest budget: 15 slots for each shard. Less could not
	// tell a page that is used again from one that is not.
	MinBytes = int64(1) << 20
	// MaxBytes is the largest budget. Slots of a shard are numbered in 32 bits,
	// which leave four for the hint in its table even then.
	MaxBytes = int64(1) << 44

	// SlotBytes is what one page costs of the budget: its content, its record
	// in the index and its share of the tables in memory.
	SlotBytes = lazymig.PageSize + recordSize + slotMemory

	// slotMemory is the memory of a slot, in bytes: 8 for the tag, 4 for the
	// queue, 1 for its state, 5.4 in the table, 4 in the ghost queue.
	slotMemory = 23
)

const (
	// MaxFilterEntries bounds the digests of one filter: those of 256 GiB of
	// pages, about 76 MB on the wire.
	MaxFilterEntries = 1 << 26
	// MaxFilterBytes bounds the encoded form of a filter. A binary fuse filter
	// has at most 1.3 bytes an entry from 10 000 entries on, and few below.
	MaxFilterBytes = filterHeader + MaxFilterEntries*13/10

	// maxSegment is the longest segment of a binary fuse filter that its
	// library makes.
	maxSegment = 1 << 18
)

const (
	// shardCount is into how many parts with a lock each the index is cut. A
	// lock is held for some 100 ns of the microseconds that a hit takes, so
	// that 16 serve more processors than a host has. It decides which slots a
	// digest can be in: another number makes another version of the files.
	shardCount = 16
	// growSlots is by how many slots the arena grows at a time: 4 MiB, which
	// tmpfs clears in about a millisecond. A multiple of shardCount.
	growSlots = 1024
	// smallPercent is the share of the small queue, as in the paper.
	smallPercent = 10
	// maxFrequency is up to where uses are counted, as in the paper.
	maxFrequency = 3
	// maxEvictSteps bounds how many slots are looked at to find one to give
	// up, and so how long the lock of a shard is held: some microseconds.
	maxEvictSteps = 64
	// ghostWays is how many tags share a bucket of the ghost queue: one cache
	// line holds four such buckets.
	ghostWays = 4
	// walkSlots is how many slots are looked at under one lock when all of
	// them are: some 10 µs.
	walkSlots = 4096
	// blockRecords is how many records of the index are read at once: 1.1 MiB,
	// where disks give their full rate.
	blockRecords = 32 << 10
	// statBlock is the unit in which stat(2) counts the room of a file, in bytes.
	statBlock = 512
	// maxPID bounds the text that is read from the lock file, in bytes.
	maxPID = 20
)
