package pagecache

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/zeebo/blake3"

	"github.com/lazymig/lazymig"

	"golang.org/x/sys/unix"
)

// The directory of a cache:
//
//	lock               held by the process that has the cache
//	FINGERPRINT/arena  pages of the domain with this key
//	FINGERPRINT/index  what they are, see index_record.go
const (
	lockName  = "lock"
	arenaName = "arena"
	indexName = "index"
)

// SpaceError is returned by Open when there is no room for the index and
// the first pages.
type SpaceError struct {
	// Dir is the directory, or empty for a cache in memory.
	Dir string
	// Bytes is how much was wanted.
	Bytes int64
	err   error
}

// Error says where, and how much.
func (e *SpaceError) Error() string {
	where := "memory"
	if e.Dir != "" {
		where = e.Dir
	}
	return fmt.Sprintf("allocate %d bytes for the page cache in %s: %v", e.Bytes, where, e.err)
}

// Hint says what to do.
func (e *SpaceError) Hint() string { return "free some space, or give the cache another size or place" }

// Unwrap returns the error of the system.
func (e *SpaceError) Unwrap() error { return e.err }

// newFingerprint returns the name of a key's domain.
func newFingerprint(k Key) (f fingerprint) {
	blake3.DeriveKey("lazymig page cache: fingerprint of a domain key, v1", k[:], f[:])
	return f
}

// open opens or makes the files, and reads the index.
func (s *Store) open(cfg Config) error {
	of := newFingerprint(cfg.Key)
	if err := s.openFiles(cfg.Dir, of); err != nil {
		return err
	}
	fresh, err := s.prepareIndex(of, cfg)
	if err != nil {
		return err
	}
	if err := s.prepareArena(fresh); err != nil {
		return err
	}
	for i := range s.shards {
		s.shards[i].init(uint32(s.slots / shardCount))
	}
	s.load()
	if s.grown.Load() > 0 {
		return nil
	}
	if err := s.grow(0); err != nil {
		return &SpaceError{Dir: cfg.Dir, Bytes: growSlots * lazymig.PageSize, err: err}
	}
	return nil
}

func (s *Store) openFiles(dir string, of fingerprint) (err error) {
	if dir == "" {
		s.inMemory = true
		if s.arena, err = openMemory("lazymig-" + arenaName); err == nil {
			s.index, err = openMemory("lazymig-" + indexName)
		}
		return err
	}
	domain := filepath.Join(dir, hex.EncodeToString(of[:]))
	if err := os.MkdirAll(domain, 0o700); err != nil {
		return fmt.Errorf("create cache directory: %w", err)
	}
	if s.lock, err = acquireLock(dir); err != nil {
		return err
	}
	if s.arena, err = openFile(filepath.Join(domain, arenaName)); err == nil {
		s.index, err = openFile(filepath.Join(domain, indexName))
	}
	if err != nil {
		return fmt.Errorf("open page cache: %w", err)
	}
	var at unix.Statfs_t
	s.inMemory = unix.Statfs(domain, &at) == nil && at.Type == unix.TMPFS_MAGIC
	return nil
}

// prepareIndex finds out how many slots there are, and brings the index to its
// length. It is made anew if it has none of our headers.
func (s *Store) prepareIndex(of fingerprint, cfg Config) (fresh bool, err error) {
	had, ok := readIndexHeader(s.index, of)
	switch {
	case cfg.Bytes != 0:
		s.slots = slotsIn(cfg.Bytes)
	case ok:
		s.slots = had
	default:
		s.slots = slotsIn(DefaultBytes)
	}
	length, keep := recordOffset(s.slots), recordOffset(min(had, s.slots))
	if !ok {
		keep = 0
	}
	if size, err := s.index.Size(); err != nil || size > keep {
		if err := s.index.Truncate(keep); err != nil {
			return false, fmt.Errorf("shorten the index of the page cache: %w", err)
		}
	}
	if err := s.index.Allocate(0, length); err != nil {
		return false, &SpaceError{Dir: cfg.Dir, Bytes: length, err: err}
	}
	if had != s.slots || !ok {
		if _, err := s.index.WriteAt(appendHeader(nil, of, s.slots), 0); err != nil {
			return false, fmt.Errorf("write the index of the page cache: %w", err)
		}
	}
	return !ok, nil
}

// prepareArena cuts off what is behind the last slot, or everything.
func (s *Store) prepareArena(fresh bool) error {
	size, err := s.arena.Size()
	if err != nil {
		return fmt.Errorf("open the arena of the page cache: %w", err)
	}
	slots := min(uint64(size)/lazymig.PageSize, s.slots)
	slots -= slots % shardCount
	if fresh {
		slots = 0
	}
	if err := s.arena.Truncate(int64(slots * lazymig.PageSize)); err != nil {
		return fmt.Errorf("shorten the arena of the page cache: %w", err)
	}
	s.grown.Store(slots)
	return nil
}

// load reads the index. What cannot be read is as good as empty.
func (s *Store) load() {
	block := make([]byte, min(blockRecords, s.slots)*recordSize)
	for from := uint64(0); from < s.grown.Load(); from += blockRecords {
		records := s.readRecords(block, from)
		for i := range min(blockRecords, s.grown.Load()-from) {
			d, ok := parseRecord(records[min(uint64(len(records)), i*recordSize):], from+i)
			s.shards[(from+i)%shardCount].restore(d.tag(), ok && d.tag()%shardCount == (from+i)%shardCount)
		}
	}
}

// readRecords reads the records of the slots from `from` on into block, and
// returns those that are there.
func (s *Store) readRecords(block []byte, from uint64) []byte {
	n, err := s.index.ReadAt(block, recordOffset(from))
	if err != nil && !errors.Is(err, io.EOF) {
		s.count.readErrors.Add(1)
	}
	return block[:n]
}
