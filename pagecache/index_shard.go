package pagecache

import (
	"math/bits"
	"sync"
)

// What a slot is used for. A slot that is being written belongs to the writer;
// no queue and no table has it. A dead one is in a queue still, but no longer
// in the table: its page was found to be damaged.
const (
	stateFree = iota
	stateWriting
	stateSmall
	stateMain
	stateDead
)

// shard is the index of those digests whose tags end in its number, and of the
// slots whose numbers do, called by their rank among those: local. Nothing in
// it has a pointer for each page, so the garbage collector has nothing to do.
//
// There is no I/O under mu, and no loop without a bound that is small.
type shard struct {
	mu sync.Mutex // protects all below

	tags  []uint64 // of each slot that is in the table
	next  []uint32 // links of the queues
	marks []uint8  // state << 2 | uses
	// table finds slots by tag: open addressing, linear probing. An entry is 0,
	// or the slot plus one in its lower indexBits and a hint of the tag above.
	table     []uint32
	indexBits uint

	small, main, free queue
	smallShare        uint32
	ghost             ghost
	fresh             uint32 // slots from here on were never used
	live              uint32 // pages in the table

	found, missed, evicted uint64
}

func (s *shard) init(slots uint32) {
	s.tags = make([]uint64, slots)
	s.next = make([]uint32, slots)
	s.marks = make([]uint8, slots)
	s.table = make([]uint32, slots+slots/3+2) // three quarters full at most
	s.indexBits = uint(bits.Len32(slots))
	s.smallShare = max(1, slots*smallPercent/100)
	s.ghost = newGhost(slots - s.smallShare)
}

func (s *shard) state(local uint32) uint8     { return s.marks[local] >> 2 }
func (s *shard) frequency(local uint32) uint8 { return s.marks[local] & 3 }
func (s *shard) mark(local uint32, state, uses uint8) {
	s.marks[local] = state<<2 | uses
}

// home is where the search for a tag begins.
func (s *shard) home(tag uint64) uint32 {
	at, _ := bits.Mul64(tag, uint64(len(s.table)))
	return uint32(at)
}

func (s *shard) after(at uint32) uint32 {
	if at++; at < uint32(len(s.table)) {
		return at
	}
	return 0
}

// distance is how many steps it takes from one place in the table to another.
func (s *shard) distance(from, to uint32) uint32 {
	if to >= from {
		return to - from
	}
	return to + uint32(len(s.table)) - from
}

func (s *shard) hint(tag uint64) uint32 { return uint32(tag>>4) >> s.indexBits }

func (s *shard) slotAt(at uint32) uint32 { return s.table[at]&(1<<s.indexBits-1) - 1 }

// find returns the place of tag in the table; without one, where it belongs.
func (s *shard) find(tag uint64) (at uint32, ok bool) {
	hint := s.hint(tag)
	at = s.home(tag)
	for s.table[at] != 0 {
		if s.table[at]>>s.indexBits == hint && s.tags[s.slotAt(at)] == tag {
			return at, true
		}
		at = s.after(at)
	}
	return at, false
}

// remove empties a place in the table, and moves up what is behind it, so that
// a search never ends too early.
func (s *shard) remove(at uint32) {
	s.table[at] = 0
	for next := s.after(at); s.table[next] != 0; next = s.after(next) {
		home := s.home(s.tags[s.slotAt(next)])
		if s.distance(home, next) >= s.distance(at, next) {
			s.table[at], s.table[next] = s.table[next], 0
			at = next
		}
	}
}

// insert makes a written slot findable. If another writer was first, the slot is
// free.
func (s *shard) insert(local uint32, tag uint64, state uint8) {
	at, exists := s.find(tag)
	if exists {
		s.release(local)
		return
	}
	s.table[at] = s.hint(tag)<<s.indexBits | (local + 1)
	s.tags[local] = tag
	s.mark(local, state, 0)
	if state == stateMain {
		s.push(&s.main, local)
	} else {
		s.push(&s.small, local)
	}
	s.live++
}

// release gives a slot back that nothing was written to.
func (s *shard) release(local uint32) {
	s.mark(local, stateFree, 0)
	s.push(&s.free, local)
}

// holds reports whether a slot has the page of tag.
func (s *shard) holds(local uint32, tag uint64) bool {
	state := s.state(local)
	return (state == stateSmall || state == stateMain) && s.tags[local] == tag
}
