package pagecache

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lazymig/lazymig"
)

const faultPages = 100 // few enough for every shard to have room

// filled makes a directory with a store of faultPages pages.
func filled(t *testing.T) (Config, *pages) {
	t.Helper()
	cfg := Config{Dir: t.TempDir(), Bytes: MinBytes, Key: Key{3}}
	s, p := openStore(t, cfg), newPages(t, cfg.Key)
	for i := range uint64(faultPages) {
		p.put(t, s, i)
	}
	closeStore(t, s)
	return cfg, p
}

// path returns the only file of that name in a cache directory.
func path(t *testing.T, cfg Config, name string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(cfg.Dir, "*", name))
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	return found[0]
}

// survives opens a damaged store: every page is right or missed, at least
// `least` are there, and what is missing can be put again.
func survives(t *testing.T, cfg Config, p *pages, least int) Stats {
	t.Helper()
	s := openStore(t, cfg)
	defer closeStore(t, s)
	hits := 0
	for i := range uint64(faultPages) {
		if p.read(t, s, i) {
			hits++
		}
	}
	st := s.Stats()
	if hits < least {
		t.Errorf("%d of %d pages are left, expected %d: %+v", hits, faultPages, least, st)
	}
	if st.Hits != uint64(hits) || st.Misses != uint64(faultPages-hits) {
		t.Errorf("%d hits: %+v", hits, st)
	}
	for i := range uint64(faultPages) {
		if p.put(t, s, i); !p.read(t, s, i) {
			t.Fatalf("page %d is missing after it was put again", i)
		}
	}
	return st
}

func edit(t *testing.T, name string, change func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, change(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestBitFlips(t *testing.T) {
	for range repeats(20, 300) {
		cfg, p := filled(t)
		for _, name := range []string{arenaName, indexName} {
			edit(t, path(t, cfg, name), func(b []byte) []byte {
				for range 10 {
					// Behind the header, whose loss is that of all.
					at := headerSize + rand.IntN(faultPages*recordSize)
					if name == arenaName {
						at = rand.IntN(faultPages * lazymig.PageSize)
					}
					b[at] ^= 1 << rand.IntN(8)
				}
				return b
			})
		}
		survives(t, cfg, p, faultPages-20)
	}
}

func TestBitFlipInHeader(t *testing.T) {
	for at := range 36 {
		cfg, p := filled(t)
		edit(t, path(t, cfg, indexName), func(b []byte) []byte { b[at] ^= 4; return b })
		if st := survives(t, cfg, p, 0); st.Hits != 0 {
			t.Errorf("byte %d of the header: %+v", at, st)
		}
	}
}

// TestDamagedPageIsCounted flips one bit of each page: all are misses, and
// Verify clears them on the disk.
func TestDamagedPageIsCounted(t *testing.T) {
	cfg, _ := filled(t)
	arena := path(t, cfg, arenaName)
	edit(t, arena, func(b []byte) []byte {
		for i := 100; i < len(b); i += lazymig.PageSize {
			b[i] ^= 1
		}
		return b
	})
	s := openStore(t, cfg)
	if checked, bad, err := s.Verify(t.Context()); checked != faultPages || bad != faultPages || err != nil {
		t.Errorf("%d checked, %d bad, %v", checked, bad, err)
	}
	if st := s.Stats(); st.Damaged != faultPages || st.Pages != 0 {
		t.Errorf("%+v", st)
	}
	closeStore(t, s)
	s = openStore(t, cfg)
	if st := s.Stats(); st.Pages != 0 {
		t.Errorf("bad pages are back: %+v", st)
	}
	closeStore(t, s)

	cfg, p := filled(t)
	edit(t, path(t, cfg, arenaName), func(b []byte) []byte { clear(b); return b })
	if st := survives(t, cfg, p, 0); st.Damaged != faultPages {
		t.Errorf("%+v", st)
	}
}

func TestTruncatedAndForeignFiles(t *testing.T) {
	garbage := func(b []byte) []byte {
		for i := range b {
			b[i] = byte(rand.Uint32())
		}
		return b
	}
	for name, change := range map[string]func([]byte) []byte{
		"empty":       func([]byte) []byte { return nil },
		"one byte":    func(b []byte) []byte { return b[:1] },
		"half":        func(b []byte) []byte { return b[:len(b)/2+17] },
		"garbage":     garbage,
		"longer":      func(b []byte) []byte { return append(b, garbage(make([]byte, 70_001))...) },
		"header only": func(b []byte) []byte { return b[:headerSize] },
		"zeros":       func(b []byte) []byte { clear(b); return b },
		"garbage behind the header": func(b []byte) []byte {
			garbage(b[headerSize:])
			return b
		},
		"shifted by a record": func(b []byte) []byte {
			copy(b[headerSize+recordSize:], b[headerSize:])
			return b
		},
	} {
		for _, file := range []string{arenaName, indexName} {
			t.Run(name+" "+file, func(t *testing.T) {
				cfg, p := filled(t)
				edit(t, path(t, cfg, file), change)
				least := 0
				if name == "longer" {
					least = faultPages
				}
				survives(t, cfg, p, least)
			})
		}
	}
	t.Run("missing", func(t *testing.T) {
		for _, file := range []string{arenaName, indexName, "../" + lockName} {
			cfg, p := filled(t)
			if err := os.Remove(path(t, cfg, file)); err != nil {
				t.Fatal(err)
			}
			survives(t, cfg, p, 0)
		}
	})
	t.Run("directory in the way", func(t *testing.T) {
		cfg, _ := filled(t)
		arena := path(t, cfg, arenaName)
		if err := errors.Join(os.Remove(arena), os.Mkdir(arena, 0o700)); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(cfg); !errors.Is(err, unix.EISDIR) || !strings.Contains(err.Error(), arena) {
			t.Errorf("%v", err)
		}
	})
	t.Run("symbolic link", func(t *testing.T) {
		cfg, _ := filled(t)
		arena, target := path(t, cfg, arenaName), filepath.Join(t.TempDir(), "precious")
		if err := errors.Join(os.WriteFile(target, []byte("x"), 0o600), os.Remove(arena), os.Symlink(target, arena)); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(cfg); !errors.Is(err, unix.ELOOP) {
			t.Errorf("followed a link: %v", err)
		}
	})
}

// failing is storage that fails when it is told to.
type failing struct {
	storage
	reads, writes, allocations atomic.Bool
}

func (f *failing) ReadAt(b []byte, at int64) (int, error) {
	if f.reads.Load() {
		n, _ := f.storage.ReadAt(b[:min(len(b)/2, 10*recordSize)], at)
		return n, &fs.PathError{Op: "read", Path: "arena", Err: unix.EIO}
	}
	return f.storage.ReadAt(b, at)
}

func (f *failing) WriteAt(b []byte, at int64) (int, error) {
	if f.writes.Load() {
		n, _ := f.storage.WriteAt(b[:len(b)/2], at)
		return n, &fs.PathError{Op: "write", Path: "arena", Err: unix.EIO}
	}
	return f.storage.WriteAt(b, at)
}

func (f *failing) Allocate(offset, length int64) error {
	if f.allocations.Load() {
		return unix.ENOSPC
	}
	return f.storage.Allocate(offset, length)
}

func TestIOErrors(t *testing.T) {
	for _, which := range []string{arenaName, indexName} {
		t.Run(which, func(t *testing.T) {
			cfg, p := filled(t)
			s := openStore(t, cfg)
			bad := &failing{}
			if which == arenaName {
				bad.storage, s.arena = s.arena, bad
			} else {
				bad.storage, s.index = s.index, bad
			}
			bad.writes.Store(true)
			page, d := p.make(faultPages)
			if err := s.Put(d, page); !errors.Is(err, unix.EIO) || p.read(t, s, faultPages) || s.Stats().WriteErrors != 1 {
				t.Errorf("%v, %+v", err, s.Stats())
			}
			bad.writes.Store(false)
			bad.reads.Store(true)
			if hit := p.read(t, s, 1); hit != (which == indexName) {
				t.Errorf("hit is %v", hit)
			}
			if n, _, err := s.Verify(t.Context()); err != nil || which == indexName && n > faultPages/2 {
				t.Errorf("verified %d pages: %v", n, err)
			}
			for range s.All() {
				if which == indexName {
					break
				}
			}
			if s.Stats().ReadErrors == 0 {
				t.Errorf("not counted: %+v", s.Stats())
			}
			bad.reads.Store(false)
			if p.put(t, s, 1); !p.read(t, s, 1) {
				t.Error("does not work after the disk does")
			}
			closeStore(t, s)
			survives(t, cfg, p, 0)
		})
	}
}

// TestNoMoreSpace lets the arena's growth fail: the store stays as large as it
// is, and works.
func TestNoMoreSpace(t *testing.T) {
	s := openStore(t, Config{Bytes: 32 << 20})
	bad := &failing{storage: s.arena}
	s.arena = bad
	bad.allocations.Store(true)
	p := newPages(t, Key{})
	for i := range uint64(3 * growSlots) {
		if p.put(t, s, i); !p.read(t, s, i) {
			t.Fatalf("page %d is missing", i)
		}
	}
	if st := s.Stats(); !st.DiskFull || st.Pages > growSlots || st.Pages < growSlots*9/10 || st.WriteErrors != 0 {
		t.Errorf("%+v", st)
	}
}

// TestFullDisk has the cache on a small tmpfs.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount a small tmpfs")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=8m"); err != nil {
		t.Skip("cannot mount a tmpfs:", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	cfg := Config{Dir: dir, Bytes: 64 << 20}
	s := openStore(t, cfg)
	p := newPages(t, cfg.Key)
	for i := range uint64(3000) {
		if p.put(t, s, i); !p.read(t, s, i) {
			t.Fatalf("page %d is missing", i)
		}
	}
	st := s.Stats()
	if !st.DiskFull || st.Pages < 1000 {
		t.Errorf("%+v", st)
	}
	closeStore(t, s)
	if s = openStore(t, cfg); s.Stats().Pages != st.Pages {
		t.Errorf("%d pages, %d afterwards", st.Pages, s.Stats().Pages)
	}
	closeStore(t, s)

	// Nothing is left for another domain, nor for its index.
	rest := filepath.Join(dir, "rest")
	if err := os.WriteFile(rest, make([]byte, 8<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	for _, bytes := range []int64{MinBytes, 1 << 30} {
		_, err := Open(Config{Dir: dir, Bytes: bytes, Key: Key{9}})
		var space *SpaceError
		if errors.As(err, &space) && (space.Hint() == "" || !strings.Contains(err.Error(), dir)) || !errors.Is(err, unix.ENOSPC) {
			t.Errorf("%d bytes: %v", bytes, err)
		}
	}
	if err := os.Remove(rest); err != nil {
		t.Fatal(err)
	}
	_, err := Open(Config{Dir: dir, Bytes: 1 << 30, Key: Key{9}})
	if _, ok := errors.AsType[*SpaceError](err); !ok {
		t.Errorf("no room for the index: %v", err)
	}
	// One that cannot become larger stays as it is.
	larger := cfg
	larger.Bytes = 1 << 30
	if _, err := Open(larger); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("no room for a larger index: %v", err)
	}
	if s = openStore(t, Config{Dir: dir}); s.Stats().Pages != st.Pages || s.Stats().Slots != st.Slots {
		t.Errorf("%+v, after the others %+v", st, s.Stats())
	}
}

// stuck is storage whose writes and allocations wait.
type stuck struct {
	storage
	entered, leave chan struct{}
}

func (f *stuck) WriteAt(b []byte, at int64) (int, error) {
	f.entered <- struct{}{}
	<-f.leave
	return f.storage.WriteAt(b, at)
}

func (f *stuck) Allocate(offset, length int64) error {
	f.entered <- struct{}{}
	<-f.leave
	return f.storage.Allocate(offset, length)
}

// TestReadersDoNotWait has writers that hang in the disk: all pages can be read
// meanwhile, those of the same shards too. Close waits.
func TestReadersDoNotWait(t *testing.T) {
	const had = growSlots / 2
	s := openStore(t, Config{Bytes: 32 << 20})
	p := newPages(t, Key{})
	for i := range uint64(had) {
		p.put(t, s, i)
	}
	hanging := &stuck{s.arena, make(chan struct{}), make(chan struct{})}
	s.arena = hanging
	const writers = 2 * growSlots // more than the arena has room for: some want it to grow
	var done sync.WaitGroup
	for w := range uint64(writers) {
		done.Go(func() {
			page, d := newPages(t, Key{}).make(had + w)
			if err := s.Put(d, page); err != nil {
				t.Error(err)
			}
		})
	}
	for range growSlots - had {
		<-hanging.entered
	}
	for i := range uint64(had) {
		if !p.read(t, s, i) {
			t.Errorf("page %d cannot be read", i)
		}
	}
	if n := len(slices.Collect(s.All())); n != had {
		t.Errorf("%d pages are listed of %d", n, had)
	}
	closed := make(chan error)
	go func() {
		done.Wait()
		closed <- s.Close()
	}()
	for {
		select {
		case <-hanging.entered:
		case hanging.leave <- struct{}{}:
		case err := <-closed:
			if st := s.Stats(); err != nil || st.Puts != had+writers {
				t.Errorf("%v, %+v", err, st)
			}
			return
		}
	}
}
