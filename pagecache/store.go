package pagecache

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"github.com/lazymig/lazymig"
)

// ErrConfig is returned by Open for a Config that cannot be meant.
var ErrConfig = errors.New("invalid page cache configuration")

// Config says where a Store keeps its pages, and how many.
type Config struct {
	// Dir is the directory of the files, made if it is missing. They have pages
	// of guests: nobody else may read it. Without one the pages are in memory
	// and end with the Store.
	Dir string
	// Bytes is the budget: pages, index and tables in memory together, at
	// least MinBytes. 0 means what the directory had last, or DefaultBytes. A
	// Store that was larger before loses what no longer fits.
	Bytes int64
	// Key is that of the trust domain. Pages of other domains in the same
	// directory are neither seen nor touched.
	Key Key
}

func (c *Config) validate() error {
	if c.Bytes != 0 && (c.Bytes < MinBytes || c.Bytes > MaxBytes) {
		return fmt.Errorf("%w: a budget of %d bytes is not between %d and %d", ErrConfig, c.Bytes, MinBytes, MaxBytes)
	}
	return nil
}

// slotsIn is how many pages a budget has room for, a multiple of shardCount.
func slotsIn(budget int64) uint64 {
	n := uint64(budget-headerSize) / SlotBytes
	return n - n%shardCount
}

// Store keeps pages by their digests, up to a number of bytes. It is a cache:
// any page may be gone at any time, but what Read returns is right, whatever
// has happened to the files. All methods are safe for any number of goroutines.
type Store struct {
	arena, index storage
	inMemory     bool     // both
	lock         *os.File // nil without a directory
	slots        uint64
	shards       [shardCount]shard
	workers      sync.Pool // of *worker
	key          Key

	growing    sync.Mutex    // held while the arena grows
	grown      atomic.Uint64 // slots that the arena has room for
	cannotGrow atomic.Bool   // the disk was full: the slots that are there must do

	closing sync.RWMutex // held for reading while files are written
	closed  atomic.Bool

	count counters
}

// worker is what an operation needs besides the page.
type worker struct {
	hasher *Hasher
	record [recordSize]byte
}

// Open opens the store of cfg, with what its directory has for the key,
// or makes an empty one. It returns a *LockedError if another process has the
// directory, and a *SpaceError if there is no room for the index.
func Open(cfg Config) (*Store, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if _, err := NewHasher(cfg.Key); err != nil {
		return nil, err
	}
	s := &Store{key: cfg.Key}
	s.workers.New = func() any { return s.newWorker() }
	if err := s.open(cfg); err != nil {
		return nil, errors.Join(err, s.closeFiles())
	}
	return s, nil
}

func (s *Store) newWorker() *worker {
	h, err := NewHasher(s.key)
	if err != nil {
		panic(err) // Open has made one from the same key
	}
	return &worker{hasher: h}
}

// shard returns who knows about a tag, and its number.
func (s *Store) shard(tag uint64) (*shard, uint64) {
	i := tag % shardCount
	return &s.shards[i], i
}

// Read fills page, of lazymig.PageSize bytes, with the page of digest d, and
// verifies it. False is a miss: there is none, or it was damaged, or could not
// be read; page has nothing of use then. It allocates nothing, and waits for
// no writer.
//
// The page is read and verified in the caller's own memory: what happens to the
// slot meanwhile can make it a miss, but not another page.
func (s *Store) Read(d Digest, page []byte) bool {
	if len(page) != lazymig.PageSize || s.closed.Load() {
		return false
	}
	tag := d.tag()
	sh, i := s.shard(tag)
	local, ok := sh.hit(tag)
	if !ok {
		return false
	}
	if _, err := s.arena.ReadAt(page, offset(local, i)); err != nil {
		s.count.readErrors.Add(1)
		s.count.unserved.Add(1)
		sh.drop(local, tag)
		return false
	}
	if s.verify(&d, page) {
		return true
	}
	s.count.unserved.Add(1)
	if sh.drop(local, tag) {
		s.count.damaged.Add(1)
	}
	return false
}

func (s *Store) verify(d *Digest, page []byte) bool {
	w := s.workers.Get().(*worker)
	defer s.workers.Put(w)
	return w.hasher.Verify(page, d[:])
}

// slotNumber is the place of a shard's slot in the files: shards take turns, so
// that files of any length have as many slots of each.
func slotNumber(local uint32, shard uint64) uint64 { return uint64(local)*shardCount + shard }

func offset(local uint32, shard uint64) int64 {
	return int64(slotNumber(local, shard) * lazymig.PageSize)
}

// Contains reports whether Read would very likely have a page. It is no use of
// the page, and reads nothing.
func (s *Store) Contains(d Digest) bool {
	tag := d.tag()
	sh, _ := s.shard(tag)
	return sh.contains(tag)
}

// Close writes nothing that is not written already: it waits for the writers
// and gives files and lock back. Later reads miss, later writes fail.
func (s *Store) Close() error {
	s.closing.Lock()
	defer s.closing.Unlock()
	if s.closed.Swap(true) {
		return nil
	}
	return s.closeFiles()
}
