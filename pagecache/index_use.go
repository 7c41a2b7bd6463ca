package pagecache

// The operations of a shard as the store calls them. Each takes the lock once.

// hit looks for the slot of tag, and counts its use.
func (s *shard) hit(tag uint64) (local uint32, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ok := s.find(tag)
	if !ok {
		s.missed++
		return 0, false
	}
	s.found++
	local = s.slotAt(at)
	if uses := s.frequency(local); uses < maxFrequency {
		s.mark(local, s.state(local), uses+1)
	}
	return local, true
}

// look is hit without counting.
func (s *shard) look(tag uint64) (local uint32, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ok := s.find(tag)
	if !ok {
		return 0, false
	}
	return s.slotAt(at), true
}

func (s *shard) contains(tag uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.find(tag)
	return ok
}

// What came of reserve.
type reservation int

const (
	reserved   reservation = iota
	exists                 // the page is there already
	needsSpace             // the arena must grow first
	noSlot                 // every slot is being written to
)

// reserve takes a slot for tag out of everybody's sight. The arena has room for
// the first `room` slots of the shard; mayGrow says whether it can have more.
func (s *shard) reserve(tag uint64, room uint32, mayGrow bool) (uint32, reservation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.find(tag); ok {
		return 0, exists
	}
	var local uint32
	switch {
	case s.free.count > 0:
		local = s.pop(&s.free)
	case s.fresh < room:
		local = s.fresh
		s.fresh++
	case s.fresh < uint32(len(s.tags)) && mayGrow:
		return 0, needsSpace
	default:
		var ok bool
		if local, ok = s.evict(); !ok {
			return 0, noSlot
		}
	}
	s.mark(local, stateWriting, 0)
	return local, reserved
}

// publish makes the page findable that was written to a reserved slot.
func (s *shard) publish(local uint32, tag uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	state := uint8(stateSmall)
	if s.ghost.take(tag) {
		state = stateMain
	}
	s.insert(local, tag, state)
}

// cancel gives a reserved slot back.
func (s *shard) cancel(local uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.release(local)
}

// drop forgets a page that cannot be read any more. It is false if the slot has
// another page by now: then nothing is wrong with either.
func (s *shard) drop(local uint32, tag uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ok := s.find(tag)
	if !ok || s.slotAt(at) != local {
		return false
	}
	s.remove(at)
	s.mark(local, stateDead, 0)
	s.live--
	return true
}

// restore puts a page in that the index file has; without one the slot is free.
// Slots come in order. Which queue a page was in is not kept: it has outlived
// a process, so it goes into the main one.
func (s *shard) restore(tag uint64, ok bool) {
	local := s.fresh
	s.fresh++
	if ok {
		s.insert(local, tag, stateMain)
	} else {
		s.release(local)
	}
}

func (s *shard) isAt(local uint32, tag uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.holds(local, tag)
}

// appendTags appends the tags of the pages from slot `from` on, of walkSlots at
// most.
func (s *shard) appendTags(tags []uint64, from uint32) []uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	for local := from; local < min(from+walkSlots, s.fresh); local++ {
		if s.holds(local, s.tags[local]) {
			tags = append(tags, s.tags[local])
		}
	}
	return tags
}
