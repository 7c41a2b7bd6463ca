package pagecache

// queue is a first-in, first-out list of slots of one shard, linked by
// shard.next. Its values are slot numbers plus one; 0 is none.
type queue struct {
	first, last uint32
	count       uint32
}

func (s *shard) push(q *queue, local uint32) {
	s.next[local] = 0
	if q.last == 0 {
		q.first = local + 1
	} else {
		s.next[q.last-1] = local + 1
	}
	q.last = local + 1
	q.count++
}

// pop takes the oldest slot of a queue that is not empty.
func (s *shard) pop(q *queue) uint32 {
	local := q.first - 1
	q.first = s.next[local]
	if q.first == 0 {
		q.last = 0
	}
	q.count--
	return local
}

// Eviction is S3-FIFO (Yang, Zhang, Qiu, Yue, Rashmi: "FIFO queues are all you
// need for cache eviction", SOSP 2023):
//
//  1. A new page goes into the small queue, or, if the ghost queue still knows
//     it, into the main queue.
//  2. A use counts up to 3; nothing moves.
//  3. When room is needed and the small queue has more than its share, its
//     oldest page moves to the main queue if it was used, and else leaves, and
//     only its tag goes into the ghost queue.
//  4. Otherwise the oldest page of the main queue goes to its end with one use
//     less, or leaves if it has none.
//
// So a scan, whose pages are used once, passes through the small tenth of the
// cache. Unlike in the paper one use is enough for (3), since the page that is
// given up costs a way through the network; and there is a bound on the steps,
// after which the oldest page leaves whatever its uses are.
func (s *shard) evict() (local uint32, ok bool) {
	for step := 0; s.small.count+s.main.count > 0; step++ {
		forced := step >= maxEvictSteps
		if s.small.count > s.smallShare || s.main.count == 0 {
			local, ok = s.evictSmall(forced)
		} else {
			local, ok = s.evictMain(forced)
		}
		if ok {
			return local, true
		}
	}
	return 0, false
}

func (s *shard) evictSmall(forced bool) (local uint32, ok bool) {
	local = s.pop(&s.small)
	switch {
	case s.state(local) == stateDead:
		return local, true
	case s.frequency(local) > 0 && !forced:
		s.mark(local, stateMain, 0)
		s.push(&s.main, local)
		return 0, false
	}
	s.ghost.add(s.tags[local])
	s.forget(local)
	return local, true
}

func (s *shard) evictMain(forced bool) (local uint32, ok bool) {
	local = s.pop(&s.main)
	switch uses := s.frequency(local); {
	case s.state(local) == stateDead:
		return local, true
	case uses > 0 && !forced:
		s.mark(local, stateMain, uses-1)
		s.push(&s.main, local)
		return 0, false
	}
	s.forget(local)
	return local, true
}

// forget takes a page that is leaving out of the table.
func (s *shard) forget(local uint32) {
	if at, ok := s.find(s.tags[local]); ok {
		s.remove(at)
		s.live--
		s.evicted++
	}
}
