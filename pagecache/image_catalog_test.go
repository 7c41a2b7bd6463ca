package pagecache

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/lazymig/lazymig"
	"golang.org/x/sys/unix"
)

func TestCatalog(t *testing.T) {
	dir := t.TempDir()
	c := NewCatalog(dir, testKey)
	if images, wrong, err := c.List(); len(images)+len(wrong) != 0 || err != nil {
		t.Errorf("%v, %v, %v", images, wrong, err)
	}
	path := writeFile(t, filepath.Join(dir, "image"), randomPages(1, 4))
	if _, current := c.Current(path); current {
		t.Error("current before it was added")
	}
	addImage(t, dir, path)
	if m, current := c.Current(path); !current || m.Blocks != 4 {
		t.Errorf("%+v, current: %v", m, current)
	}
	writeFile(t, path, randomPages(2, 7))
	if _, current := c.Current(path); current {
		t.Error("current after it has changed")
	}
	if m := addImage(t, dir, path); m.Blocks != 7 {
		t.Errorf("%+v", m)
	}
	if images, _, _ := c.List(); len(images) != 1 || images[0].Blocks != 7 {
		t.Errorf("%+v", images)
	}
	if err := c.Remove(path); err != nil {
		t.Error(err)
	}
	if err := c.Remove(path); !errors.Is(err, ErrNoImage) {
		t.Errorf("removed twice: %v", err)
	}
	if _, err := c.Verify(t.Context(), path, nil); !errors.Is(err, ErrNoImage) {
		t.Errorf("verified what was removed: %v", err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

func TestAddRefuses(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	large := writeFile(t, filepath.Join(dir, "large"), nil)
	if err := os.Truncate(large, maxImageBytes+1); err != nil && !errors.Is(err, unix.EFBIG) {
		t.Fatal(err)
	} else if err != nil {
		large = fifo // ext4 has no such files
	}
	c := NewCatalog(dir, testKey)
	for _, path := range []string{dir, fifo, "/dev/zero", large, strings.Repeat("x/", maxPath)} {
		if _, err := c.Add(t.Context(), AddConfig{Path: path}); !errors.Is(err, ErrImage) {
			t.Errorf("%.40s: %v", path, err)
		}
	}
	if _, err := c.Add(t.Context(), AddConfig{Path: filepath.Join(dir, "none")}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if _, err := c.Add(t.Context(), AddConfig{Path: writeFile(t, filepath.Join(dir, "image"), nil), Format: "vmdk"}); !errors.Is(err, ErrImage) {
		t.Errorf("%v", err)
	}
	if m := addImage(t, dir, filepath.Join(dir, "image")); m.Blocks != 0 {
		t.Errorf("an empty file: %+v", m)
	}
	if s := openImages(t, dir).Stats(); s.Images != 1 {
		t.Errorf("%+v", s)
	}
}

// TestStoppedAdd leaves what was there before, and nothing else.
func TestStoppedAdd(t *testing.T) {
	dir, stopped := t.TempDir(), errors.New("stopped")
	path := writeFile(t, filepath.Join(dir, "image"), randomPages(1, 3000))
	c := NewCatalog(dir, testKey)
	for _, before := range []int{0, 1} {
		ctx, stop := context.WithCancelCause(t.Context())
		_, err := c.Add(ctx, AddConfig{Path: path, Progress: func(done, _ int64) {
			if done > 1<<20 {
				stop(stopped)
			}
		}})
		stop(nil)
		if !errors.Is(err, stopped) {
			t.Errorf("%v", err)
		}
		if left, _ := os.ReadDir(c.Dir()); len(left) != before {
			t.Errorf("%d files, want %d: %v", len(left), before, left)
		}
		addImage(t, dir, path)
	}
}

func TestOneAddAtATime(t *testing.T) {
	dir := t.TempDir()
	path := writeFile(t, filepath.Join(dir, "image"), randomPages(1, 4))
	c := NewCatalog(dir, testKey)
	dead := filepath.Join(c.Dir(), ".new-123")
	if err := os.MkdirAll(c.Dir(), 0o700); err != nil {
		t.Fatal(err)
	}
	writeFile(t, dead, nil)
	unlock, err := c.lock()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dead); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what a dead one left: %v", err)
	}
	if _, err := c.Add(t.Context(), AddConfig{Path: path}); !errors.Is(err, ErrImagesBusy) {
		t.Errorf("%v", err)
	}
	unlock()
	addImage(t, dir, path)
}

func TestTooMany(t *testing.T) {
	dir := t.TempDir()
	c := NewCatalog(dir, testKey)
	b := &builder{catalog: c, room: 3, image: Image{Path: "/x", Format: RawFormat}}
	runs := &run{spool: &b.spool}
	for n := range 4 {
		if err := runs.add(uint32(n), &Digest{byte(n)}); err != nil {
			t.Fatal(err)
		}
	}
	b.runs = []*run{runs}
	file, err := os.Create(filepath.Join(dir, "index"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := b.write(t.Context(), file); !errors.Is(err, errTooMany) {
		t.Errorf("%v", err)
	}
	small := writeFile(t, filepath.Join(dir, "image"), randomPages(1, 1))
	for n := range maxImages {
		path := filepath.Join(dir, fmt.Sprint("link", n))
		if err := os.Symlink(small, path); err != nil {
			t.Fatal(err)
		}
		addImage(t, dir, path)
	}
	if _, err := c.Add(t.Context(), AddConfig{Path: small}); !errors.Is(err, ErrImagesFull) {
		t.Errorf("%v", err)
	}
	addImage(t, dir, filepath.Join(dir, "link7")) // one that is there may come again
	if s := openImages(t, dir).Stats(); s.Images != maxImages {
		t.Errorf("%+v", s)
	}
}

// TestReadersAndWriters: indexes come and go while others read.
func TestReadersAndWriters(t *testing.T) {
	dir, pages := t.TempDir(), randomPages(1, 50)
	path := writeFile(t, filepath.Join(dir, "image"), pages)
	addImage(t, dir, path)
	var readers sync.WaitGroup
	defer readers.Wait()
	for range 3 {
		readers.Go(func() {
			for range 20 {
				images, err := OpenImages(dir, testKey)
				if err != nil || len(images.Warnings()) != 0 {
					t.Errorf("%v, %v", err, images.Warnings())
					return
				}
				for n := range 50 {
					has(t, images, pageOf(pages, n))
				}
				images.Close()
			}
		})
	}
	for range 20 {
		addImage(t, dir, path)
		if err := NewCatalog(dir, testKey).Remove(path); err != nil {
			t.Error(err)
		}
	}
}

// TestUnreadableImage uses a file whose beginning the kernel never gives: the
// memory of a process, where no page is at 0.
func TestUnreadableImage(t *testing.T) {
	const path = "/proc/self/mem"
	file, err := os.Open(path)
	if err != nil {
		t.Skip(err)
	}
	defer file.Close()
	if _, err := file.ReadAt(make([]byte, 1), 0); !errors.Is(err, unix.EIO) {
		t.Skipf("reading address 0: %v", err)
	}
	s := &scan{file: file, key: testKey, visitor: func(int) visitor {
		return func(uint32, *Digest) error { return errors.New("a block that cannot be read") }
	}}
	err = s.run(t.Context(), func(emit func(extent) error) error { return emit(extent{0, 3 * lazymig.PageSize}) })
	if err != nil || s.counts.unreadable != 3 {
		t.Errorf("%+v, %v", s.counts, err)
	}
	page := make([]byte, lazymig.PageSize)
	images := &Images{images: []*usedImage{{table: tableOf(Digest{1}), file: imageFile{path: path}}}}
	defer images.Close()
	for range 2 {
		if images.Read(Digest{1}, page) {
			t.Error("a page that cannot be read")
		}
	}
	if s := images.Stats(); s.Failed != 2 || s.Misses != 2 {
		t.Errorf("%+v", s)
	}
}

// tableOf returns a table of one digest, of block 0.
func tableOf(d Digest) *table {
	t := newTable(1)
	t.add(d[:], 0)
	t.finish()
	return t
}

// TestBlockDevice indexes a loop device.
func TestBlockDevice(t *testing.T) {
	dir, pages := t.TempDir(), randomPages(1, 20)
	backing := writeFile(t, filepath.Join(dir, "backing"), pages)
	out, err := exec.CommandContext(t.Context(), "losetup", "-r", "-f", "--show", backing).Output()
	if err != nil {
		t.Skipf("no loop devices: %v", err)
	}
	device := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if err := exec.Command("losetup", "-d", device).Run(); err != nil {
			t.Error(err)
		}
	})
	m := addImage(t, dir, device)
	if m.Blocks != 20 || m.Size != int64(len(pages)) || m.State() != ImageUnknown {
		t.Errorf("%+v, %s", m, m.State())
	}
	images := openImages(t, dir)
	if !has(t, images, pageOf(pages, 19)) {
		t.Error("a page is missing")
	}
	images.Close()
}
