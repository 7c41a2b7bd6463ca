package pagecache

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/lazymig/lazymig"
)

// TestModel does random things to a store and to a map. The store may forget
// pages when it is full, and only then; it never has one that was not put.
func TestModel(t *testing.T) {
	for _, bytes := range []int64{MinBytes, 8 << 20} {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		random := rand.New(rand.NewPCG(seed, 0))
		cfg := Config{Dir: t.TempDir(), Bytes: bytes, Key: Key{1}}
		s := openStore(t, cfg)
		p := newPages(t, cfg.Key)
		put := map[uint64]bool{}
		evicted := uint64(0)
		for range 20_000 {
			i := random.Uint64N(1000)
			switch k := random.IntN(2000); {
			case k == 0:
				before := s.Stats()
				evicted += before.Evicted
				closeStore(t, s)
				s = openStore(t, cfg)
				if after := s.Stats(); after.Pages != before.Pages {
					t.Fatalf("%d pages, %d after it was opened again", before.Pages, after.Pages)
				}
			case k < 1000:
				p.put(t, s, i)
				put[i] = true
				if !p.read(t, s, i) {
					t.Fatalf("page %d was put and is not there", i)
				}
			default:
				if p.read(t, s, i) && !put[i] {
					t.Fatalf("page %d was never put and is there", i)
				}
			}
		}
		checkModel(t, s, p, put, evicted)
	}
}

func checkModel(t *testing.T, s *Store, p *pages, put map[uint64]bool, evicted uint64) {
	t.Helper()
	st := s.Stats()
	if evicted += st.Evicted; st.Pages > st.Slots || (evicted == 0) != (st.Slots > 1500) {
		t.Errorf("%+v, %d evicted", st, evicted)
	}
	held := uint64(0)
	digests := slices.Collect(s.All())
	for i := range put {
		_, d := p.make(i)
		in := slices.Contains(digests, d)
		if s.Contains(d) != in || p.read(t, s, i) != in {
			t.Errorf("page %d: All, Contains and Read differ", i)
		}
		if in {
			held++
		} else if evicted == 0 {
			t.Errorf("page %d is missing, and none was given up", i)
		}
	}
	if held != st.Pages || len(digests) != int(held) {
		t.Errorf("%d pages found, %d listed, %d counted", held, len(digests), st.Pages)
	}
	if checked, bad, err := s.Verify(t.Context()); checked != held || bad != 0 || err != nil {
		t.Errorf("verify: %d of %d, %d bad, %v", checked, held, bad, err)
	}
	if st = s.Stats(); st.Damaged+st.ReadErrors+st.WriteErrors+st.Dropped != 0 {
		t.Errorf("errors without a cause: %+v", st)
	}
}

// TestBudget checks that the files are not larger than what was asked for, and
// that what is not content is within two percent of it.
func TestBudget(t *testing.T) {
	if overhead := float64(SlotBytes-lazymig.PageSize) / lazymig.PageSize; overhead > 0.02 {
		t.Errorf("a slot costs %.2f %% more than its page", overhead*100)
	}
	cfg := Config{Dir: t.TempDir(), Bytes: 8 << 20}
	s := openStore(t, cfg)
	p := newPages(t, cfg.Key)
	for i := range uint64(3000) {
		p.put(t, s, i)
	}
	if st := s.Stats(); st.Pages != st.Slots || st.Bytes > uint64(cfg.Bytes) || st.Bytes < uint64(cfg.Bytes)*98/100 || st.Evicted != 3000-st.Slots {
		t.Errorf("%+v", st)
	}
	var sum int64
	for _, name := range []string{arenaName, indexName} {
		found, err := filepath.Glob(filepath.Join(cfg.Dir, "*", name))
		if err != nil || len(found) != 1 {
			t.Fatal(found, err)
		}
		info, err := os.Stat(found[0])
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s: others may read it: %v", name, info.Mode())
		}
		sum += info.Size()
	}
	if sum > cfg.Bytes {
		t.Errorf("the files have %d bytes of %d", sum, cfg.Bytes)
	}
}

// TestResize opens a cache with other budgets: what fits stays.
func TestResize(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), Bytes: 4 << 20}
	p := newPages(t, cfg.Key)
	s := openStore(t, cfg)
	for i := range uint64(500) {
		p.put(t, s, i)
	}
	closeStore(t, s)
	for _, c := range []struct {
		bytes     int64
		low, high uint64
	}{{16 << 20, 500, 500}, {1 << 20, 150, 250}, {4 << 20, 150, 250}} {
		cfg.Bytes = c.bytes
		s = openStore(t, cfg)
		hits := uint64(0)
		for i := range uint64(500) {
			if p.read(t, s, i) {
				hits++
			}
		}
		if st := s.Stats(); hits != st.Pages || hits < c.low || hits > c.high || st.Hits != hits || st.Misses != 500-hits || st.Damaged != 0 {
			t.Errorf("%d bytes: %d hits, %+v", c.bytes, hits, st)
		}
		closeStore(t, s)
	}
}

// TestKeepsSize opens a cache without saying how large it is to be.
func TestKeepsSize(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), Bytes: 16 << 20}
	s := openStore(t, cfg)
	want := s.Stats().Slots
	newPages(t, cfg.Key).put(t, s, 1)
	closeStore(t, s)
	s = openStore(t, Config{Dir: cfg.Dir})
	if st := s.Stats(); st.Slots != want || st.Pages != 1 {
		t.Errorf("had %d slots, %+v", want, st)
	}
	closeStore(t, s)
	if s = openStore(t, Config{}); s.Stats().Slots != slotsIn(DefaultBytes) {
		t.Errorf("a new one: %+v", s.Stats())
	}
}

// TestInspect looks at a directory without a store, at one in use, and at one
// that was left behind.
func TestInspect(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), Bytes: 4 << 20, Key: Key{1}}
	check := func(key Key, want Usage) {
		t.Helper()
		got, err := Inspect(cfg.Dir, key)
		if want.Bytes != 0 && got.Bytes >= want.Bytes && got.Bytes <= uint64(cfg.Bytes) {
			got.Bytes = want.Bytes
		}
		if got != want || err != nil {
			t.Errorf("%+v, %v; want %+v", got, err, want)
		}
	}
	check(cfg.Key, Usage{})
	s, p := openStore(t, cfg), newPages(t, cfg.Key)
	for i := range uint64(500) {
		p.put(t, s, i)
	}
	want := Usage{Pages: 500, Slots: s.Stats().Slots, Bytes: 500 * lazymig.PageSize, Locked: true, PID: os.Getpid()}
	check(cfg.Key, want)
	check(Key{2}, Usage{Locked: true, PID: os.Getpid()})
	var locked *LockedError
	if _, err := Open(cfg); !errors.As(err, &locked) || locked.PID != os.Getpid() || locked.Dir != cfg.Dir {
		t.Errorf("opened twice: %v", err)
	}
	closeStore(t, s)
	want.Locked, want.PID = false, 0
	check(cfg.Key, want)
	edit(t, path(t, cfg, arenaName), func(b []byte) []byte { return b[:100*lazymig.PageSize] })
	want.Pages, want.Bytes = 100, 100*lazymig.PageSize
	check(cfg.Key, want)
	edit(t, path(t, cfg, indexName), func(b []byte) []byte { b[0] ^= 1; return b })
	want.Pages, want.Slots = 0, 0
	check(cfg.Key, want)
}

// TestDomains has two keys in one directory.
func TestDomains(t *testing.T) {
	dir := t.TempDir()
	one, two := Config{Dir: dir, Bytes: MinBytes, Key: Key{1}}, Config{Dir: dir, Bytes: MinBytes, Key: Key{2}}
	s := openStore(t, one)
	p := newPages(t, one.Key)
	d := p.put(t, s, 1)
	closeStore(t, s)

	s = openStore(t, two)
	if s.Contains(d) || s.Read(d, make([]byte, lazymig.PageSize)) || s.Stats().Pages != 0 {
		t.Error("a page of another domain is seen")
	}
	newPages(t, two.Key).put(t, s, 1)
	closeStore(t, s)

	if s = openStore(t, one); !p.read(t, s, 1) {
		t.Error("the first domain has lost its page")
	}
	closeStore(t, s)

	// Files that were moved to another domain's place are not taken.
	folders, err := filepath.Glob(filepath.Join(dir, "????????????????*"))
	if err != nil || len(folders) != 2 {
		t.Fatal(folders, err)
	}
	swap(t, folders[0], folders[1])
	for _, cfg := range []Config{one, two} {
		s = openStore(t, cfg)
		if st := s.Stats(); st.Pages != 0 {
			t.Errorf("took the files of another domain: %+v", st)
		}
		closeStore(t, s)
	}
}

func swap(t *testing.T, a, b string) {
	t.Helper()
	for _, move := range [][2]string{{a, a + ".x"}, {b, a}, {a + ".x", b}} {
		if err := os.Rename(move[0], move[1]); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAnonymous(t *testing.T) {
	s := openStore(t, Config{Bytes: 2 << 20})
	p := newPages(t, Key{})
	for i := range uint64(1000) {
		p.put(t, s, i)
		if !p.read(t, s, i) {
			t.Fatalf("page %d is missing", i)
		}
	}
	if st := s.Stats(); st.Pages != st.Slots || st.Puts != 1000 || st.Hits != 1000 {
		t.Errorf("%+v", st)
	}
}

func TestMisuse(t *testing.T) {
	for _, bytes := range []int64{-1, 1, MinBytes - 1, MaxBytes + 1} {
		if _, err := Open(Config{Bytes: bytes}); !errors.Is(err, ErrConfig) {
			t.Errorf("%d bytes: %v", bytes, err)
		}
	}
	if _, err := Open(Config{Dir: "/dev/null/x", Bytes: MinBytes}); err == nil || !strings.Contains(err.Error(), "create cache directory") {
		t.Errorf("a directory that cannot be: %v", err)
	}
	s := openStore(t, Config{Bytes: MinBytes})
	p := newPages(t, Key{})
	page, d := p.make(1)
	if err := s.Put(d, page[1:]); !errors.Is(err, ErrPageSize) {
		t.Errorf("short page: %v", err)
	}
	if err := s.Put(d, page); err != nil || s.Read(d, make([]byte, 1)) {
		t.Error("read into a short page")
	}
	closeStore(t, s)
	if err := s.Put(d, page); !errors.Is(err, os.ErrClosed) {
		t.Errorf("put after Close: %v", err)
	}
	if s.Read(d, page) {
		t.Error("read after Close")
	}
	if _, _, err := s.Verify(t.Context()); !errors.Is(err, os.ErrClosed) {
		t.Errorf("verify after Close: %v", err)
	}
}

// TestWrongDigest puts a page under another's digest: it is never read.
func TestWrongDigest(t *testing.T) {
	s := openStore(t, Config{Bytes: MinBytes})
	p := newPages(t, Key{})
	_, d := p.make(1)
	page, _ := p.make(2)
	if err := s.Put(d, page); err != nil {
		t.Fatal(err)
	}
	if s.Read(d, make([]byte, lazymig.PageSize)) || s.Contains(d) || s.Stats().Damaged != 1 {
		t.Errorf("%+v", s.Stats())
	}
	if p.put(t, s, 1); !p.read(t, s, 1) {
		t.Error("the right page does not get in afterwards")
	}
}

func TestVerifyCancelled(t *testing.T) {
	s := openStore(t, Config{Bytes: MinBytes})
	newPages(t, Key{}).put(t, s, 1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if n, _, err := s.Verify(ctx); n != 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("%d checked, %v", n, err)
	}
}

func TestReadAllocatesNothing(t *testing.T) {
	for name, dir := range map[string]string{"memory": "", "directory": t.TempDir()} {
		s := openStore(t, Config{Dir: dir, Bytes: MinBytes})
		p := newPages(t, Key{})
		d := p.put(t, s, 1)
		_, absent := p.make(2)
		page := make([]byte, lazymig.PageSize)
		if n := testing.AllocsPerRun(1000, func() {
			if !s.Read(d, page) || s.Read(absent, page) || s.Contains(absent) {
				t.Error("wrong answer")
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations per read", name, n)
		}
	}
}

// TestReadersBesideEviction reads pages while writers push them out: some are
// missed, none is wrong, and none counts as damaged.
func TestReadersBesideEviction(t *testing.T) {
	s := openStore(t, Config{Dir: t.TempDir(), Bytes: MinBytes})
	const span = 1000 // pages, four times the slots
	var writers, readers sync.WaitGroup
	stop := make(chan struct{})
	for w := range uint64(2) {
		writers.Go(func() {
			p, random := newPages(t, Key{}), rand.New(rand.NewPCG(w, 1))
			for range repeats(10_000, 200_000) {
				page, d := p.make(random.Uint64N(span))
				if err := s.Put(d, page); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for r := range uint64(4) {
		readers.Go(func() {
			p, random, got := newPages(t, Key{}), rand.New(rand.NewPCG(r, 2)), make([]byte, lazymig.PageSize)
			for {
				select {
				case <-stop:
					return
				default:
				}
				i := random.Uint64N(span)
				if want, d := p.make(i); s.Read(d, got) && string(got) != string(want) {
					t.Errorf("page %d is wrong", i)
				}
			}
		})
	}
	readers.Go(func() {
		for range s.All() {
			if _, err := s.Filter(); err != nil {
				t.Error(err)
			}
			if _, bad, err := s.Verify(t.Context()); bad != 0 || err != nil {
				t.Errorf("verify: %d bad, %v", bad, err)
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	writers.Wait()
	close(stop)
	readers.Wait()
	st := s.Stats()
	t.Logf("%+v", st)
	if st.Hits == 0 || st.Evicted == 0 || st.Pages != st.Slots || st.ReadErrors+st.WriteErrors != 0 {
		t.Errorf("%+v", st)
	}
}

// TestCloseBesideUse closes a store that others are using: their reads miss and
// their puts fail from then on, and the directory is free.
func TestCloseBesideUse(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), Bytes: MinBytes}
	for range repeats(10, 200) {
		s := openStore(t, cfg)
		newPages(t, cfg.Key).put(t, s, 0)
		var users sync.WaitGroup
		for w := range uint64(4) {
			users.Go(func() {
				p, got := newPages(t, Key{}), make([]byte, lazymig.PageSize)
				for i := w; ; i++ {
					want, d := p.make(i % 300)
					if s.Read(d, got) && string(got) != string(want) {
						t.Errorf("page %d is wrong", i)
					}
					if err := s.Put(d, want); errors.Is(err, os.ErrClosed) {
						return
					} else if err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		if _, _, err := s.Verify(t.Context()); err != nil {
			t.Error(err)
		}
		closeStore(t, s)
		users.Wait()
	}
	s := openStore(t, cfg)
	if checked, bad, err := s.Verify(t.Context()); checked == 0 || bad != 0 || err != nil {
		t.Errorf("%d checked, %d bad, %v", checked, bad, err)
	}
}
