package pagecache

import (
	"context"
	"fmt"
	"iter"
	"os"

	"github.com/lazymig/lazymig"
)

// All yields the digests of all pages, while others read and write. What cannot
// be read of the index is left out.
func (s *Store) All() iter.Seq[Digest] {
	return func(yield func(Digest) bool) {
		for _, d := range s.records() {
			if !yield(d) {
				return
			}
		}
	}
}

// records yields the slots that have pages, and their digests, from the index
// file: memory has the tags only.
func (s *Store) records() iter.Seq2[uint64, Digest] {
	return func(yield func(uint64, Digest) bool) {
		block := make([]byte, min(blockRecords, s.slots)*recordSize)
		for from := uint64(0); from < s.grown.Load(); from += blockRecords {
			records := s.readRecords(block, from)
			for i := range min(blockRecords, s.grown.Load()-from, uint64(len(records)/recordSize)) {
				slot := from + i
				d, ok := parseRecord(records[i*recordSize:], slot)
				if !ok || !s.shards[slot%shardCount].isAt(uint32(slot/shardCount), d.tag()) {
					continue
				}
				if !yield(slot, d) {
					return
				}
			}
		}
	}
}

// Filter returns a membership filter of all pages. It reads nothing but memory.
func (s *Store) Filter() (*Filter, error) {
	tags := make([]uint64, 0, s.Stats().Pages)
	for i := range s.shards {
		sh := &s.shards[i]
		for from := uint64(0); from < s.slots/shardCount; from += walkSlots {
			tags = sh.appendTags(tags, uint32(from))
		}
	}
	return newFilter(tags)
}

// Verify reads all pages and checks their digests, while others read and write.
// It forgets those that are bad, on the disk too. It returns early with the
// error of ctx, or os.ErrClosed.
func (s *Store) Verify(ctx context.Context) (checked, bad uint64, err error) {
	if s.closed.Load() {
		return 0, 0, fmt.Errorf("verify page cache: %w", os.ErrClosed)
	}
	page := make([]byte, lazymig.PageSize)
	for slot, d := range s.records() {
		if err := ctx.Err(); err != nil {
			return checked, bad, fmt.Errorf("verify page cache: %w", err)
		}
		ok, err := s.verifySlot(slot, &d, page)
		if err != nil {
			return checked, bad, err
		}
		checked++
		if !ok {
			bad++
		}
	}
	return checked, bad, nil
}

func (s *Store) verifySlot(slot uint64, d *Digest, page []byte) (ok bool, err error) {
	s.closing.RLock()
	defer s.closing.RUnlock()
	if s.closed.Load() {
		return false, fmt.Errorf("verify page cache: %w", os.ErrClosed)
	}
	_, err = s.arena.ReadAt(page, int64(slot*lazymig.PageSize))
	if err != nil {
		s.count.readErrors.Add(1)
	}
	if err == nil && s.verify(d, page) {
		return true, nil
	}
	sh, _ := s.shard(d.tag())
	if !sh.drop(uint32(slot/shardCount), d.tag()) {
		return true, nil // another page is there by now
	}
	s.count.damaged.Add(1)
	// Should a writer have got the slot in between, this costs its page.
	if _, err := s.index.WriteAt(make([]byte, recordSize), recordOffset(slot)); err != nil {
		s.count.writeErrors.Add(1)
	}
	return false, nil
}
