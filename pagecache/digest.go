package pagecache

import (
	"crypto/subtle"
	"fmt"

	"github.com/zeebo/blake3"

	"github.com/lazymig/lazymig"
)

// DigestSize is the length of a digest in bytes.
const DigestSize = 32

// Digest is the keyed BLAKE3-256 of one page.
type Digest [DigestSize]byte

// Key is the secret of a trust domain that all its digests depend on.
type Key [32]byte

// Hasher computes page digests. It belongs to one goroutine.
type Hasher struct {
	keyed *blake3.Hasher
	sum   [DigestSize]byte
}

// NewHasher returns a Hasher for the trust domain of key. It does not fail for
// any key; the error is that of the digest's library.
func NewHasher(key Key) (*Hasher, error) {
	h, err := blake3.NewKeyed(key[:])
	if err != nil {
		return nil, fmt.Errorf("create page hasher: %w", err)
	}
	return &Hasher{keyed: h}, nil
}

// Sum writes the digest of page, of lazymig.PageSize bytes, into out, which
// holds DigestSize bytes. It allocates nothing.
func (h *Hasher) Sum(page, out []byte) {
	h.keyed.Reset()
	_, _ = h.keyed.Write(page) // a hash never fails to take bytes
	h.keyed.Sum(out[:0])
}

// Verify reports whether want, of DigestSize bytes, is the digest of page, in
// constant time.
func (h *Hasher) Verify(page, want []byte) bool {
	h.Sum(page, h.sum[:])
	return subtle.ConstantTimeCompare(h.sum[:], want) == 1
}

var zeroPage [lazymig.PageSize]byte

// IsZero reports whether page, of lazymig.PageSize bytes, has only zeros.
func IsZero(page []byte) bool {
	// Most pages that are not zero show it in their first words.
	return page[0] == 0 && string(page) == string(zeroPage[:])
}
