package pagecache

import (
	"bytes"
	"encoding/hex"
	"testing"

	"github.com/lazymig/lazymig"
)

// TestReference checks the digest against the first keyed vector of the
// BLAKE3 reference (input of one byte, 0), so that a library that changed its
// mind about the algorithm is noticed.
func TestReference(t *testing.T) {
	var key Key
	copy(key[:], "whats the Elvish word for friend")
	h, err := NewHasher(key)
	if err != nil {
		t.Fatal(err)
	}
	var got Digest
	h.Sum([]byte{0}, got[:])
	const want = "6d7878dfff2f485635d39013278ae14f1454b8c0a3a2d34bc1ab38228a80c95b"
	if hex.EncodeToString(got[:]) != want {
		t.Errorf("digest %x, want %s", got, want)
	}
}

func TestVerify(t *testing.T) {
	h, _ := NewHasher(Key{1})
	other, _ := NewHasher(Key{2})
	page := bytes.Repeat([]byte{7}, lazymig.PageSize)
	var d Digest
	h.Sum(page, d[:])
	if !h.Verify(page, d[:]) {
		t.Error("a page fails against its own digest")
	}
	if other.Verify(page, d[:]) {
		t.Error("a digest of another domain passes")
	}
	for _, i := range []int{0, 1, 2047, lazymig.PageSize - 1} {
		page[i] ^= 1
		if h.Verify(page, d[:]) {
			t.Errorf("byte %d flipped: the page still passes", i)
		}
		page[i] ^= 1
	}
}

func TestIsZero(t *testing.T) {
	page := make([]byte, lazymig.PageSize)
	if !IsZero(page) {
		t.Error("zeros are not zero")
	}
	for i := range page {
		page[i] = 1
		if IsZero(page) {
			t.Fatalf("byte %d set: page counts as zero", i)
		}
		page[i] = 0
	}
}

func TestNoAllocation(t *testing.T) {
	h, _ := NewHasher(Key{})
	page := make([]byte, lazymig.PageSize)
	out := make([]byte, DigestSize)
	if n := testing.AllocsPerRun(100, func() { h.Sum(page, out); h.Verify(page, out) }); n != 0 {
		t.Errorf("%v allocations per page", n)
	}
}

func BenchmarkSum(b *testing.B) {
	h, _ := NewHasher(Key{})
	page := bytes.Repeat([]byte{7}, lazymig.PageSize)
	out := make([]byte, DigestSize)
	b.SetBytes(lazymig.PageSize)
	for b.Loop() {
		h.Sum(page, out)
	}
}

func BenchmarkIsZero(b *testing.B) {
	page := make([]byte, lazymig.PageSize)
	b.SetBytes(lazymig.PageSize)
	for b.Loop() {
		IsZero(page)
	}
}
