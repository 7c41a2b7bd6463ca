package pagecache

import (
	"errors"
	"fmt"
	"os"

	"github.com/lazymig/lazymig"
)

// Errors of Store.Put. The page is not in the store then, and nothing else has
// changed for the worse.
var (
	// ErrFull is returned when the disk has no room for a first page, or every
	// slot is being written to.
	ErrFull = errors.New("page cache has no free slot")
	// ErrPageSize is returned for a page of another length.
	ErrPageSize = fmt.Errorf("a page has %d bytes", lazymig.PageSize)
)

// Put keeps page, whose digest is d, and gives another one up for it if there
// is no more room. The caller has verified the digest; a wrong one makes a page
// that is never read. It returns ErrFull, an error of the disk, or
// os.ErrClosed; the page is dropped and counted then, which is no harm.
//
// It returns when the system has the page, which a busy disk can delay: whoever
// must not wait puts from a goroutine of its own. Nothing is forced to the disk.
func (s *Store) Put(d Digest, page []byte) error {
	if len(page) != lazymig.PageSize {
		return ErrPageSize
	}
	s.closing.RLock()
	defer s.closing.RUnlock()
	if s.closed.Load() {
		return fmt.Errorf("put page: %w", os.ErrClosed)
	}
	tag := d.tag()
	sh, i := s.shard(tag)
	local, found, err := s.reserve(sh, tag)
	if err != nil || found {
		return err
	}
	if err := s.write(slotNumber(local, i), &d, page); err != nil {
		sh.cancel(local)
		s.count.writeErrors.Add(1)
		return fmt.Errorf("put page: %w", err)
	}
	sh.publish(local, tag)
	s.count.puts.Add(1)
	return nil
}

// reserve returns a slot to write to, unless the page is found.
func (s *Store) reserve(sh *shard, tag uint64) (local uint32, found bool, err error) {
	for {
		grown := s.grown.Load()
		local, result := sh.reserve(tag, uint32(grown/shardCount), !s.cannotGrow.Load())
		switch result {
		case reserved:
			return local, false, nil
		case exists:
			return 0, true, nil
		case needsSpace:
			_ = s.grow(grown) // Stats tells; another slot will do
		default:
			s.count.dropped.Add(1)
			return 0, false, ErrFull
		}
	}
}

// write puts page and record in their places. Their order does not matter, nor
// how much of them gets there: what does not fit together is a miss.
func (s *Store) write(slot uint64, d *Digest, page []byte) error {
	if _, err := s.arena.WriteAt(page, int64(slot*lazymig.PageSize)); err != nil {
		return err
	}
	w := s.workers.Get().(*worker)
	defer s.workers.Put(w)
	putRecord(w.record[:], slot, d)
	_, err := s.index.WriteAt(w.record[:], recordOffset(slot))
	return err
}

func recordOffset(slot uint64) int64 { return headerSize + int64(slot)*recordSize }

// grow gives the arena more room than `from` slots. If it cannot, the store
// makes do with what it has until it is opened again.
func (s *Store) grow(from uint64) error {
	s.growing.Lock()
	defer s.growing.Unlock()
	if s.grown.Load() != from || s.cannotGrow.Load() {
		return nil // another writer was first
	}
	n := min(growSlots, s.slots-from)
	if err := s.arena.Allocate(int64(from*lazymig.PageSize), int64(n*lazymig.PageSize)); err != nil {
		s.cannotGrow.Store(true)
		return err
	}
	s.grown.Store(from + n)
	return nil
}
