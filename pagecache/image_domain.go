package pagecache

import (
	"encoding/hex"

	"github.com/zeebo/blake3"
)

// Fingerprint returns the name of a trust domain, as 32 hexadecimal digits. It
// tells nothing about the key.
func (k Key) Fingerprint() string {
	var sum [16]byte
	blake3.DeriveKey("lazymig page cache: fingerprint of a domain key, v1", k[:], sum[:])
	return hex.EncodeToString(sum[:])
}

// indexKey returns the key that authenticates indexes: not the one of the
// digests, so that none of them is ever the digest of a page.
func (k Key) indexKey() (key Key) {
	blake3.DeriveKey("lazymig page cache: authentication of image indexes, v1", k[:], key[:])
	return key
}
