package pagecache

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/lazymig/lazymig"
)

// benchImage returns an image of n pages: small, so that it is in the host's
// page cache, as long as n is.
func benchImage(b *testing.B, n int) (images *Images, digests []Digest) {
	dir := b.TempDir()
	pages := randomPages(1, n)
	addImage(b, dir, writeFile(b, filepath.Join(dir, "image"), pages))
	images = openImages(b, dir)
	for at := range n {
		digests = append(digests, digestOf(b, pageOf(pages, at)))
	}
	return images, digests
}

func BenchmarkImagesHit(b *testing.B) {
	images, digests := benchImage(b, 1<<14)
	page := make([]byte, lazymig.PageSize)
	b.SetBytes(lazymig.PageSize)
	for b.Loop() {
		if !images.Read(digests[rand.IntN(len(digests))], page) {
			b.Fatal("a page is missing")
		}
	}
}

func BenchmarkImagesMiss(b *testing.B) {
	images, digests := benchImage(b, 1<<14)
	page := make([]byte, lazymig.PageSize)
	for b.Loop() {
		d := digests[rand.IntN(len(digests))]
		d[0], d[7] = d[0]+1, d[7]+1
		if images.Read(d, page) {
			b.Fatal("a page that is not there")
		}
	}
}

// largeIndex returns the directory of a cache with an index of 2^21 blocks, an
// image of 8 GiB that is not there itself.
func largeIndex(b *testing.B) (dir string, digests []Digest) {
	const entries = 1 << 21
	dir = b.TempDir()
	c := NewCatalog(dir, testKey)
	if err := os.MkdirAll(c.Dir(), 0o700); err != nil {
		b.Fatal(err)
	}
	random := rand.NewChaCha8([32]byte{1})
	build := &builder{catalog: c, room: entries, image: Image{Path: "/image", Format: RawFormat, Size: entries * lazymig.PageSize}, spool: spool{dir: dir}}
	defer build.spool.close()
	sorted := &run{spool: &build.spool}
	for n := range uint32(entries) {
		var d Digest
		_, _ = random.Read(d[:]) // it never fails
		digests = append(digests, d)
		if err := sorted.add(n, &d); err != nil {
			b.Fatal(err)
		}
	}
	build.runs = []*run{sorted}
	if err := build.publish(b.Context()); err != nil {
		b.Fatal(err)
	}
	return dir, digests
}

func BenchmarkOpenImages8GiB(b *testing.B) {
	dir, _ := largeIndex(b)
	for b.Loop() {
		images, err := OpenImages(dir, testKey)
		if err != nil || len(images.List()) != 1 {
			b.Fatal(err, images.Warnings())
		}
	}
}

func BenchmarkContains8GiB(b *testing.B) {
	dir, digests := largeIndex(b)
	images := openImages(b, dir)
	b.Run("hit", func(b *testing.B) {
		for b.Loop() {
			if !images.Contains(digests[rand.IntN(len(digests))]) {
				b.Fatal("a block is missing")
			}
		}
	})
	b.Run("miss", func(b *testing.B) {
		for b.Loop() {
			d := digests[rand.IntN(len(digests))]
			d[7]++
			images.Contains(d)
		}
	})
}
