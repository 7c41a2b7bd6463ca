package pagecache

import (
	"encoding/binary"
	"os"
	"testing"

	"github.com/lazymig/lazymig"
)

// repeats is how often a test goes around: less in CI than in full length.
func repeats(short, full int) int {
	if os.Getenv("LAZYMIG_FULL") != "" {
		return full
	}
	return short
}

// pages makes pages that differ, and their digests.
type pages struct {
	hasher *Hasher
	page   []byte
}

func newPages(t testing.TB, key Key) *pages {
	t.Helper()
	h, err := NewHasher(key)
	if err != nil {
		t.Fatal(err)
	}
	return &pages{hasher: h, page: make([]byte, lazymig.PageSize)}
}

// make returns page i, which holds until the next call, and its digest.
func (p *pages) make(i uint64) ([]byte, Digest) {
	x := i*0x9e3779b97f4a7c15 + 1
	for at := 0; at < len(p.page); at += 8 {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		binary.LittleEndian.PutUint64(p.page[at:], x)
	}
	var d Digest
	p.hasher.Sum(p.page, d[:])
	return p.page, d
}

// put puts page i into s.
func (p *pages) put(t testing.TB, s *Store, i uint64) Digest {
	t.Helper()
	page, d := p.make(i)
	if err := s.Put(d, page); err != nil {
		t.Fatalf("put page %d: %v", i, err)
	}
	return d
}

// read reads page i. It fails the test for a wrong page.
func (p *pages) read(t testing.TB, s *Store, i uint64) bool {
	t.Helper()
	want, d := p.make(i)
	got := make([]byte, lazymig.PageSize)
	if !s.Read(d, got) {
		return false
	}
	if string(got) != string(want) {
		t.Fatalf("page %d: a hit has other bytes", i)
	}
	return true
}

func openStore(t testing.TB, cfg Config) *Store {
	t.Helper()
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func closeStore(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatalf("a second Close: %v", err)
	}
}
