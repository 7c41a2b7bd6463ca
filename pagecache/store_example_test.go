package pagecache_test

import (
	"bytes"
	"fmt"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/pagecache"
)

// A destination keeps pages that it has verified, and tells a source by a
// filter what it has.
func ExampleOpen() {
	key := pagecache.Key{1, 2, 3}
	store, err := pagecache.Open(pagecache.Config{Bytes: 16 << 20, Key: key}) // with Dir it outlives the process
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close()
	hasher, err := pagecache.NewHasher(key)
	if err != nil {
		fmt.Println(err)
		return
	}
	page := bytes.Repeat([]byte("lazy"), lazymig.PageSize/4)
	var digest pagecache.Digest
	hasher.Sum(page, digest[:])
	if err := store.Put(digest, page); err != nil {
		fmt.Println(err)
		return
	}

	filter, err := store.Filter()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("the other side expects it:", filter.Contains(digest))
	again := make([]byte, lazymig.PageSize)
	fmt.Println("it is there, and verified:", store.Read(digest, again) && bytes.Equal(page, again))
	fmt.Println("another one is not:", !store.Read(pagecache.Digest{7}, again))
	// Output:
	// the other side expects it: true
	// it is there, and verified: true
	// another one is not: true
}
