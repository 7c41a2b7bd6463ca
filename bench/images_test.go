package bench_test

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/bench"
	"github.com/lazymig/lazymig/bench/guest"
	"github.com/lazymig/lazymig/bench/vm"
	"github.com/lazymig/lazymig/pagecache"
)

// TestImageHasTheGuestsFiles looks for every page of a guest's memory in the
// image of its disk: what the guest keeps of files must be there. In full
// length the disk is a Debian userland.
func TestImageHasTheGuestsFiles(t *testing.T) {
	config := smallGuest("q35")
	if os.Getenv("LAZYMIG_FULL") != "" {
		var err error
		if config.Files, err = guest.Files(t.Context()); err != nil {
			t.Fatal(err)
		}
		config.RAM = []vm.Backend{{MiB: 1024}}
	} else {
		config.Files = filepath.Join(t.TempDir(), "files.img")
		if text, err := exec.Command("mke2fs", "-q", "-t", "ext4", "-b", "4096", "-d", "../docs", config.Files, "8M").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
	}
	cache, key := t.TempDir(), pagecache.Key{1}
	if _, err := pagecache.NewCatalog(cache, key).Add(t.Context(), pagecache.AddConfig{Path: config.Files}); err != nil {
		t.Fatal(err)
	}
	images, err := pagecache.OpenImages(cache, key)
	if err != nil || len(images.Warnings()) > 0 {
		t.Fatal(err, images.Warnings())
	}
	defer images.Close()

	ctx, p := newPair(t, bench.Config{VM: config})
	answer, err := p.Source().Verify(ctx)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	pages, found := search(t, p.Source().RAMFiles()[0], images, key)
	t.Logf("%d of the guest's %d pages that are not zero are in the image (%.1f%%), it has %d pages of files; searched in %v",
		found, pages, 100*float64(found)/float64(pages), answer.Number("file_pages"), time.Since(began).Round(time.Millisecond))
	if cached := int(answer.Number("cached")); cached == 0 || found < cached {
		t.Errorf("%d pages were found, %d pages of files are in the guest's memory", found, cached)
	}
}

// search returns how many pages of a RAM file are not zero, and how many of
// these the images have.
func search(t *testing.T, path string, images *pagecache.Images, key pagecache.Key) (pages, found int) {
	t.Helper()
	ram, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer ram.Close()
	hasher, err := pagecache.NewHasher(key)
	if err != nil {
		t.Fatal(err)
	}
	page, into := make([]byte, lazymig.PageSize), make([]byte, lazymig.PageSize)
	for {
		var d pagecache.Digest
		if _, err := io.ReadFull(ram, page); errors.Is(err, io.EOF) {
			return pages, found
		} else if err != nil {
			t.Fatal(err)
		}
		if pagecache.IsZero(page) {
			continue
		}
		pages++
		if hasher.Sum(page, d[:]); images.Read(d, into) {
			found++
		}
	}
}
