package pagecache

import (
	"sync/atomic"

	"github.com/lazymig/lazymig"
)

// counters are those that no shard counts under its lock.
type counters struct {
	puts, dropped, unserved          atomic.Uint64
	damaged, readErrors, writeErrors atomic.Uint64
}

// Stats are the figures of a Store since it was opened. They are read one after
// the other, so they need not fit together while others use it.
type Stats struct {
	// Pages are in the store, of at most Slots that the budget has room for.
	Pages uint64 `json:"pages"`
	Slots uint64 `json:"slots"`
	// Bytes is the budget that is taken now: arena, index, tables.
	Bytes uint64 `json:"bytes"`
	// Hits and Misses count Read; a page that was damaged is a miss too.
	Hits   uint64 `json:"hits"`
	Misses uint64 `json:"misses"`
	// Puts are the pages written, Evicted those given up for them, Dropped
	// those that found no slot.
	Puts    uint64 `json:"puts"`
	Evicted uint64 `json:"evicted"`
	Dropped uint64 `json:"dropped"`
	// Damaged are pages that failed their digest, found by Read or Verify.
	Damaged uint64 `json:"damaged"`
	// ReadErrors and WriteErrors are those of the files.
	ReadErrors  uint64 `json:"read_errors"`
	WriteErrors uint64 `json:"write_errors"`
	// DiskFull says that the store stays smaller than its budget, since there
	// was no room for more.
	DiskFull bool `json:"disk_full"`
}

// Stats returns the figures of now.
func (s *Store) Stats() Stats {
	st := Stats{
		Slots:      s.slots,
		Bytes:      s.grown.Load()*lazymig.PageSize + s.slots*(recordSize+slotMemory) + headerSize,
		Puts:       s.count.puts.Load(),
		Dropped:    s.count.dropped.Load(),
		Damaged:    s.count.damaged.Load(),
		ReadErrors: s.count.readErrors.Load(), WriteErrors: s.count.writeErrors.Load(),
		DiskFull: s.cannotGrow.Load(),
	}
	unserved := s.count.unserved.Load()
	for i := range s.shards {
		s.shards[i].addTo(&st)
	}
	st.Hits -= min(unserved, st.Hits)
	st.Misses += unserved
	return st
}

func (s *shard) addTo(st *Stats) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st.Pages += uint64(s.live)
	st.Hits += s.found
	st.Misses += s.missed
	st.Evicted += s.evicted
}
