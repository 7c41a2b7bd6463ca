package pagecache

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lazymig/lazymig"
	"golang.org/x/sys/unix"
)

var testKey = Key{1, 2, 3}

// randomPages returns n pages that differ, the same for each seed.
func randomPages(seed uint64, n int) []byte {
	pages := make([]byte, n*lazymig.PageSize)
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	_, _ = rand.NewChaCha8(key).Read(pages) // it never fails
	return pages
}

func pageOf(pages []byte, n int) []byte { return pages[n*lazymig.PageSize:][:lazymig.PageSize] }

func writeFile(t testing.TB, path string, content []byte) string {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func digestOf(t testing.TB, page []byte) (d Digest) {
	t.Helper()
	hasher, err := NewHasher(testKey)
	if err != nil {
		t.Fatal(err)
	}
	hasher.Sum(page, d[:])
	return d
}

func addImage(t testing.TB, dir, path string) Image {
	t.Helper()
	m, err := NewCatalog(dir, testKey).Add(t.Context(), AddConfig{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func openImages(t testing.TB, dir string) *Images {
	t.Helper()
	images, err := OpenImages(dir, testKey)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(images.Close)
	return images
}

// has reports whether the images give a page, and fails the test if they give
// another.
func has(t testing.TB, images *Images, page []byte) bool {
	t.Helper()
	got := make([]byte, lazymig.PageSize)
	if !images.Read(digestOf(t, page), got) {
		return false
	}
	if !bytes.Equal(got, page) {
		t.Error("a page that is not the one of its digest")
	}
	return true
}

func TestRawImage(t *testing.T) {
	dir := t.TempDir()
	pages := randomPages(1, 700)
	content := slices.Concat(pages, make([]byte, 5*lazymig.PageSize), pages[:3*lazymig.PageSize], []byte("a tail"))
	path := writeFile(t, filepath.Join(dir, "raw.img"), content)
	var told []int64
	m, err := NewCatalog(dir, testKey).Add(t.Context(), AddConfig{Path: path, Progress: func(done, total int64) { told = append(told, done, total) }})
	if err != nil {
		t.Fatal(err)
	}
	if m.Blocks != 700 || m.Zero != 5 || m.Duplicates != 3 || m.Format != RawFormat || m.Size != int64(len(content)) || m.Unreadable != 0 {
		t.Errorf("%+v", m)
	}
	if len(told) < 4 || told[len(told)-2] != told[len(told)-1] {
		t.Errorf("progress ended with %v", told)
	}
	if limit := int64(700 * lazymig.PageSize / 50); m.IndexBytes > limit {
		t.Errorf("an index of %d bytes, at most %d", m.IndexBytes, limit)
	}
	images := openImages(t, dir)
	for n := range 700 {
		if !has(t, images, pageOf(pages, n)) {
			t.Fatalf("page %d is missing", n)
		}
	}
	if has(t, images, randomPages(2, 1)) || has(t, images, make([]byte, lazymig.PageSize)) {
		t.Error("a page that is not in the image")
	}
	if list := images.List(); len(list) != 1 || list[0].Path != path || !list[0].Added.Equal(m.Added) || list[0].Inode != m.Inode {
		t.Errorf("listed as %+v, added as %+v", list, m)
	}
	if s := images.Stats(); s.Hits != 700 || s.Misses != 2 || s.Blocks != 700 || s.Changed != 0 || s.MemoryBytes > 9*700+100 {
		t.Errorf("%+v", s)
	}
}

func TestAllAndContains(t *testing.T) {
	dir := t.TempDir()
	pages := randomPages(1, 40)
	addImage(t, dir, writeFile(t, filepath.Join(dir, "a"), pages[:30*lazymig.PageSize]))
	addImage(t, dir, writeFile(t, filepath.Join(dir, "b"), pages[20*lazymig.PageSize:]))
	gone := writeFile(t, filepath.Join(dir, "gone"), randomPages(3, 5))
	addImage(t, dir, gone)
	images := openImages(t, dir)
	if err := os.Remove(gone); err != nil {
		t.Fatal(err)
	}
	count := map[Digest]int{}
	for d := range images.All() {
		count[d]++
		if !images.Contains(d) {
			t.Errorf("%x is not contained", d)
		}
	}
	for n := range 40 {
		want := 1
		if n >= 20 && n < 30 {
			want = 2
		}
		if got := count[digestOf(t, pageOf(pages, n))]; got != want {
			t.Errorf("page %d: %d times, want %d", n, got, want)
		}
	}
	if len(count) != 40 {
		t.Errorf("%d digests, want 40", len(count))
	}
	for range images.All() {
		break
	}
	if images.Contains(digestOf(t, randomPages(9, 1))) {
		t.Error("contains a page that nobody had")
	}
}

// TestSpool sorts more than a worker keeps in memory.
func TestSpool(t *testing.T) {
	spooled := &spool{dir: t.TempDir()}
	defer spooled.close()
	runs := []*run{{spool: spooled}, {spool: spooled}}
	random := rand.New(rand.NewPCG(1, 2))
	const entries = 5*runEntries + 1000
	want := map[Digest]uint32{}
	for n := range entries {
		var d Digest
		binary.BigEndian.PutUint32(d[:], uint32(random.IntN(entries)))
		if first, ok := want[d]; !ok || first > uint32(n) {
			want[d] = uint32(n)
		}
		if err := runs[n%2].add(uint32(n), &d); err != nil {
			t.Fatal(err)
		}
	}
	if len(spooled.parts) < 4 {
		t.Fatalf("%d runs were spooled", len(spooled.parts))
	}
	if left, _ := os.ReadDir(spooled.dir); len(left) != 0 {
		t.Errorf("the spool has a name: %v", left)
	}
	var last entry
	seen := 0
	duplicates, err := merge(runs, spooled, func(e entry) error {
		if seen > 0 && last.compare(e) >= 0 {
			t.Fatalf("%v behind %v", e, last)
		}
		if want[e.digest] != e.block {
			t.Fatalf("block %d, the first was %d", e.block, want[e.digest])
		}
		last = e
		seen++
		return nil
	})
	if err != nil || seen != len(want) || int(duplicates) != entries-seen {
		t.Errorf("%d entries, %d duplicates, want %d of %d: %v", seen, duplicates, len(want), entries, err)
	}
	if _, err := merge(nil, spooled, func(entry) error { return errTooMany }); !errors.Is(err, errTooMany) {
		t.Errorf("%v", err)
	}
}

func TestSparseImage(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "sparse.img")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	pages := randomPages(1, 2)
	for n, at := range []int64{12 << 20, 9 << 30} {
		if _, err := file.WriteAt(pageOf(pages, n), at); err != nil {
			t.Fatal(err)
		}
	}
	if err := file.Truncate(64 << 30); err != nil {
		t.Fatal(err)
	}
	if m := addImage(t, dir, path); m.Blocks != 2 || m.Zero > 1<<12 {
		t.Errorf("%+v", m)
	}
	images := openImages(t, dir)
	if !has(t, images, pageOf(pages, 0)) || !has(t, images, pageOf(pages, 1)) {
		t.Error("a page is missing")
	}
}

// TestChangedImage does to an image what can happen to one: none of it ever
// gives another page.
func TestChangedImage(t *testing.T) {
	pages := randomPages(1, 64)
	for name, test := range map[string]struct {
		change func(path string) error
		left   int // pages
	}{
		"as it was": {func(string) error { return nil }, 64},
		"a block is written": {func(path string) error {
			file, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer file.Close()
			_, err = file.WriteAt([]byte("x"), 10*lazymig.PageSize+7)
			return err
		}, 63},
		"shorter":     {func(path string) error { return os.Truncate(path, 32*lazymig.PageSize+5) }, 32},
		"empty":       {func(path string) error { return os.Truncate(path, 0) }, 0},
		"gone":        {os.Remove, 0},
		"moved by 1":  {func(path string) error { return os.WriteFile(path, append([]byte("x"), pages...), 0o600) }, 0},
		"a directory": {func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) }, 0},
		"a pipe":      {func(path string) error { return errors.Join(os.Remove(path), unix.Mkfifo(path, 0o600)) }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := writeFile(t, filepath.Join(dir, "image"), pages)
			addImage(t, dir, path)
			early, late := openImages(t, dir), openImages(t, dir)
			if !has(t, early, pageOf(pages, 0)) { // and opens the file
				t.Fatal("a page is missing")
			}
			if err := test.change(path); err != nil {
				t.Fatal(err)
			}
			left := 0
			for n := range 64 {
				has(t, early, pageOf(pages, n))
				if has(t, late, pageOf(pages, n)) {
					left++
				}
			}
			if left != test.left {
				t.Errorf("%d pages, want %d", left, test.left)
			}
			check, err := NewCatalog(dir, testKey).Verify(t.Context(), path, nil)
			if err != nil || int(check.Intact) != test.left || check.Intact+check.Changed+check.Lost != 64 {
				t.Errorf("verified as %+v: %v", check, err)
			}
		})
	}
}

// TestImageComesBack: after a while somebody looks for it again.
func TestImageComesBack(t *testing.T) {
	dir, pages := t.TempDir(), randomPages(1, 4)
	path := writeFile(t, filepath.Join(dir, "image"), pages)
	addImage(t, dir, path)
	images := openImages(t, dir)
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	if has(t, images, pageOf(pages, 1)) {
		t.Fatal("a page of a file that is not there")
	}
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	deadline := time.After(30 * time.Second)
	for !has(t, images, pageOf(pages, 1)) {
		select {
		case <-time.After(reopenPause / 10):
		case <-deadline:
			t.Fatal("it stays away")
		}
	}
	images.Close()
	if has(t, images, pageOf(pages, 1)) {
		t.Error("a page from images that are closed")
	}
	images.Close()
}

// TestFirstImageAged: another image with the same pages stands in.
func TestFirstImageAged(t *testing.T) {
	dir, pages := t.TempDir(), randomPages(1, 8)
	for _, name := range []string{"a", "b"} {
		addImage(t, dir, writeFile(t, filepath.Join(dir, name), pages))
	}
	writeFile(t, filepath.Join(dir, "a"), randomPages(2, 8))
	images := openImages(t, dir)
	for n := range 8 {
		if !has(t, images, pageOf(pages, n)) {
			t.Errorf("page %d is missing", n)
		}
	}
	if s := images.Stats(); s.Changed != 8 || s.Hits != 8 {
		t.Errorf("%+v", s)
	}
}

func TestDomainsDoNotSeeEachOther(t *testing.T) {
	dir := t.TempDir()
	path := writeFile(t, filepath.Join(dir, "image"), randomPages(1, 4))
	addImage(t, dir, path)
	other, err := OpenImages(dir, Key{9})
	if err != nil {
		t.Fatal(err)
	}
	if s := other.Stats(); s.Images != 0 || len(other.Warnings()) != 0 {
		t.Errorf("%+v, %v", s, other.Warnings())
	}
	// Not even if somebody carries an index over.
	from, to := NewCatalog(dir, testKey), NewCatalog(dir, Key{9})
	if err := os.MkdirAll(to.Dir(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(from.indexPath(path), to.indexPath(path)); err != nil {
		t.Fatal(err)
	}
	if other, err = OpenImages(dir, Key{9}); err != nil {
		t.Fatal(err)
	}
	if w := other.Warnings(); other.Stats().Images != 0 || len(w) != 1 || !errors.Is(w[0], ErrImageIndex) || !strings.Contains(w[0].Error(), "another trust domain") {
		t.Errorf("%v", w)
	}
}

func TestImagesReadAllocateNothing(t *testing.T) {
	dir, pages := t.TempDir(), randomPages(1, 50)
	addImage(t, dir, writeFile(t, filepath.Join(dir, "image"), pages))
	images := openImages(t, dir)
	hit, miss, page := digestOf(t, pages[:lazymig.PageSize]), Digest{1}, make([]byte, lazymig.PageSize)
	if n := testing.AllocsPerRun(100, func() { images.Read(hit, page); images.Read(miss, page); images.Contains(hit) }); n >= 1 {
		t.Errorf("%v allocations", n)
	}
}

func TestFingerprint(t *testing.T) {
	a, b := Key{1}.Fingerprint(), Key{2}.Fingerprint()
	if a == b || len(a) != 32 || strings.Contains(a, "01000000") {
		t.Errorf("%s, %s", a, b)
	}
}

// TestImageInUse writes to an image while it is indexed and read: what is
// found is always the page that was asked for.
func TestImageInUse(t *testing.T) {
	const blocks = 2000
	dir, pages := t.TempDir(), randomPages(1, blocks)
	path := writeFile(t, filepath.Join(dir, "image"), pages)
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	ctx, stop := context.WithCancel(t.Context())
	var guest sync.WaitGroup
	defer guest.Wait()
	defer stop()
	guest.Go(func() {
		// The second half changes all the time, in parts of blocks.
		random := rand.New(rand.NewPCG(3, 4))
		for ctx.Err() == nil {
			at := int64(blocks/2+random.IntN(blocks/2))*lazymig.PageSize + int64(random.IntN(lazymig.PageSize-8))
			if _, err := file.WriteAt(binary.LittleEndian.AppendUint64(nil, random.Uint64()), at); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 3 {
		if m := addImage(t, dir, path); m.Blocks != blocks {
			t.Errorf("%+v", m)
		}
		images := openImages(t, dir)
		page := make([]byte, lazymig.PageSize)
		for d := range images.All() {
			if images.Read(d, page) && digestOf(t, page) != d {
				t.Fatal("a page that is not the one of its digest")
			}
		}
		for n := range blocks / 2 {
			if !has(t, images, pageOf(pages, n)) {
				t.Fatalf("page %d is missing, which nobody wrote to", n)
			}
		}
	}
}
