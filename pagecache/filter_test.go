package pagecache

import (
	"encoding/binary"
	"errors"
	"iter"
	"math/rand/v2"
	"slices"
	"testing"
)

// digests yields n digests, the same for a seed.
func digests(n int, seed uint64) iter.Seq[Digest] {
	return func(yield func(Digest) bool) {
		random := rand.New(rand.NewPCG(seed, 0))
		for range n {
			var d Digest
			binary.LittleEndian.PutUint64(d[:], random.Uint64())
			if !yield(d) {
				return
			}
		}
	}
}

// TestFilter checks what a filter promises: all members, few others, few bits.
func TestFilter(t *testing.T) {
	for _, n := range []int{0, 1, 2, 3, 4, 5, 10, 100, 1000, 20_000, 300_000, repeats(1_000_000, 4_000_000)} {
		f, err := NewFilter(digests(n, 1))
		if err != nil {
			t.Fatalf("%d entries: %v", n, err)
		}
		b, err := f.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := ParseFilter(b)
		if err != nil {
			t.Fatalf("%d entries: %v", n, err)
		}
		for d := range digests(n, 1) {
			if !f.Contains(d) || !parsed.Contains(d) {
				t.Fatalf("%d entries: a member is missing", n)
			}
		}
		const others = 400_000
		wrong := 0
		for d := range digests(others, 2) {
			if parsed.Contains(d) {
				wrong++
			}
		}
		bits := float64(len(b)*8) / float64(max(n, 1))
		rate := float64(wrong) / others
		t.Logf("%d entries: %d bytes, %.2f bits an entry, false positives %.3f %%", n, len(b), bits, rate*100)
		if f.Entries() != n || parsed.Entries() != n || rate > 0.005 || n >= 20_000 && bits > 10 || n < 20_000 && len(b) > 25_000 {
			t.Errorf("%d entries: %d bytes, %.2f bits an entry, false positives %.3f %%", n, len(b), bits, rate*100)
		}
	}
}

// TestFilterDuplicates has each digest many times, as a cache and images that
// overlap do, or a store that is empty but for one.
func TestFilterDuplicates(t *testing.T) {
	for _, n := range []int{1, 2, 1000} {
		f, err := NewFilter(func(yield func(Digest) bool) {
			for range 100 {
				for d := range digests(n, 1) {
					if !yield(d) {
						return
					}
				}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if f.Entries() != n {
			t.Errorf("%d entries of %d", f.Entries(), n)
		}
		for d := range digests(n, 1) {
			if !f.Contains(d) {
				t.Fatal("a member is missing")
			}
		}
	}
}

func TestFilterTooLarge(t *testing.T) {
	if _, err := collectTags(digests(11, 1), 10); !errors.Is(err, ErrFilterSize) {
		t.Errorf("one more than the limit: %v", err)
	}
	twice := func(yield func(Digest) bool) {
		for range 2 {
			for d := range digests(9, 1) {
				if !yield(d) {
					return
				}
			}
		}
	}
	if tags, err := collectTags(twice, 10); err != nil || len(unique(tags)) != 9 {
		t.Errorf("each twice: %d, %v", len(tags), err)
	}
}

// TestFilterOfStore builds one filter of a store and of something beside it.
func TestFilterOfStore(t *testing.T) {
	s := openStore(t, Config{Bytes: 4 << 20})
	p := newPages(t, Key{})
	for i := range uint64(2000) {
		p.put(t, s, i)
	}
	own, err := s.Filter()
	if err != nil {
		t.Fatal(err)
	}
	both, err := NewFilter(func(yield func(Digest) bool) {
		for _, from := range []iter.Seq[Digest]{s.All(), digests(500, 1)} {
			for d := range from {
				if !yield(d) {
					return
				}
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	pages := int(s.Stats().Pages)
	if own.Entries() != pages || both.Entries() != pages+500 {
		t.Errorf("%d and %d entries of %d pages", own.Entries(), both.Entries(), pages)
	}
	for d := range s.All() {
		if !own.Contains(d) || !both.Contains(d) {
			t.Fatal("a page is missing")
		}
	}
}

func TestParseFilterRefuses(t *testing.T) {
	f, err := NewFilter(digests(1000, 1))
	if err != nil {
		t.Fatal(err)
	}
	good, _ := f.MarshalBinary()
	for n := range len(good) {
		if _, err := ParseFilter(good[:n]); !errors.Is(err, ErrFilter) {
			t.Fatalf("cut at %d: %v", n, err)
		}
	}
	put := func(at int, v uint32) []byte {
		b := slices.Clone(good)
		binary.LittleEndian.PutUint32(b[at:], v)
		return b
	}
	for name, b := range map[string][]byte{
		"longer":                  append(slices.Clone(good), 0),
		"no entries":              put(0, 0),
		"too many entries":        put(0, MaxFilterEntries+1),
		"no segment":              put(4, 0),
		"no power of two":         put(4, 3),
		"long segment":            put(4, 1<<19),
		"huge segment":            put(4, 1<<31),
		"no segments":             put(8, 0),
		"segments that overflow":  put(8, 1<<31),
		"segments that overflow2": put(8, 0xffffffff),
		"a seed for nothing":      append(make([]byte, filterHeader-1), 1),
		"too long":                make([]byte, MaxFilterBytes+1),
	} {
		if _, err := ParseFilter(b); !errors.Is(err, ErrFilter) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParseFilter(f *testing.F) {
	for _, n := range []int{0, 1, 50, 3000} {
		filter, err := NewFilter(digests(n, 1))
		if err != nil {
			f.Fatal(err)
		}
		b, _ := filter.MarshalBinary()
		f.Add(b, uint64(1))
	}
	f.Fuzz(func(t *testing.T, b []byte, tag uint64) {
		filter, err := ParseFilter(b)
		if err != nil {
			return
		}
		var d Digest
		for _, tag := range []uint64{tag, 0, ^uint64(0), filter.fuse.Seed, -filter.fuse.Seed} {
			binary.LittleEndian.PutUint64(d[:], tag)
			filter.Contains(d)
		}
		if again, err := filter.MarshalBinary(); err != nil || !slices.Equal(again, b) {
			t.Errorf("written again it differs: %v", err)
		}
	})
}

func BenchmarkFilterContains(b *testing.B) {
	f, err := NewFilter(digests(1_000_000, 1))
	if err != nil {
		b.Fatal(err)
	}
	var d Digest
	for i := uint64(0); b.Loop(); i++ {
		binary.LittleEndian.PutUint64(d[:], i)
		f.Contains(d)
	}
}
