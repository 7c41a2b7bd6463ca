package pagecache_test

import (
	"bytes"
	"fmt"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/pagecache"
)

// One side digests a page that it sends, the other verifies what has arrived.
// Both have the key of their trust domain.
func Example() {
	key := pagecache.Key{1, 2, 3} // in earnest 32 random bytes, such as quictransport.Identity.DomainKey
	hasher, err := pagecache.NewHasher(key)
	if err != nil {
		fmt.Println(err)
		return
	}
	page := bytes.Repeat([]byte("lazy"), lazymig.PageSize/4)
	var digest pagecache.Digest
	hasher.Sum(page, digest[:])
	fmt.Println("as it was sent:", hasher.Verify(page, digest[:]))
	page[17] ^= 1
	fmt.Println("one bit lost: ", hasher.Verify(page, digest[:]))

	other, err := pagecache.NewHasher(pagecache.Key{4, 5, 6})
	if err != nil {
		fmt.Println(err)
		return
	}
	page[17] ^= 1
	fmt.Println("another domain:", other.Verify(page, digest[:]))
	fmt.Println("only zeros:", pagecache.IsZero(make([]byte, lazymig.PageSize)))
	// Output:
	// as it was sent: true
	// one bit lost:  false
	// another domain: false
	// only zeros: true
}
