package pagecache_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/pagecache"
)

// A disk image is indexed where it is; pages that a guest has read from it are
// then found by their digests.
func ExampleOpenImages() {
	dir, err := os.MkdirTemp("", "cache")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	disk := filepath.Join(dir, "disk.img")
	page := bytes.Repeat([]byte("file"), lazymig.PageSize/4)
	if err := os.WriteFile(disk, append(make([]byte, lazymig.PageSize), page...), 0o600); err != nil {
		fmt.Println(err)
		return
	}

	key := pagecache.Key{1, 2, 3} // in earnest that of the trust domain
	image, err := pagecache.NewCatalog(dir, key).Add(context.Background(), pagecache.AddConfig{Path: disk})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(image.Format, image.Blocks, image.Zero)

	images, err := pagecache.OpenImages(dir, key)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer images.Close()
	hasher, err := pagecache.NewHasher(key)
	if err != nil {
		fmt.Println(err)
		return
	}
	var digest pagecache.Digest
	hasher.Sum(page, digest[:])
	got := make([]byte, lazymig.PageSize)
	fmt.Println(images.Read(digest, got), bytes.Equal(got, page))
	// Output:
	// raw 1 1
	// true true
}
