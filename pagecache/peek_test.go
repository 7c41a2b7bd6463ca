package pagecache

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lazymig/lazymig"
)

// evict takes a file out of the host's memory, as far as that gives it up.
func evict(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		t.Fatal(err)
	}
}

// TestPeek finds pages in memory at once, and says of those on a disk that they
// have to be waited for.
func TestPeek(t *testing.T) {
	key := Key{1}
	h, err := NewHasher(key)
	if err != nil {
		t.Fatal(err)
	}
	random := func() (d Digest, page []byte) {
		page = make([]byte, lazymig.PageSize)
		_, _ = rand.Read(page) // never fails
		h.Sum(page, d[:])
		return d, page
	}
	dir := t.TempDir()
	image := filepath.Join(dir, "image")
	inImage, content := random()
	if err := os.WriteFile(image, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := NewCatalog(dir, key).Add(t.Context(), AddConfig{Path: image}); err != nil {
		t.Fatal(err)
	}
	for name, at := range map[string]string{"memory": "", "disk": dir} {
		t.Run(name, func(t *testing.T) {
			c, err := OpenCache(Config{Dir: at, Bytes: MinBytes, Key: key})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := c.Close(); err != nil {
					t.Error(err)
				}
			})
			d, page := random()
			c.Put(d, page)
			got := make([]byte, lazymig.PageSize)
			if ok, wait := c.Peek(d, got); !ok || wait || string(got) != string(page) {
				t.Errorf("a page that was just put: %v, %v", ok, wait)
			}
			unknown, _ := random()
			if ok, wait := c.Peek(unknown, got); ok || wait {
				t.Errorf("a page that nobody has: %v, %v", ok, wait)
			}
			if n := testing.AllocsPerRun(100, func() { c.Peek(d, got) }); n > 0 {
				t.Errorf("%v allocations", n)
			}
			if at == "" {
				return
			}
			if ok, wait := c.Peek(inImage, got); ok || !wait {
				t.Errorf("an image that is not open yet: %v, %v", ok, wait)
			}
			if !c.Read(inImage, got) || string(got) != string(content) {
				t.Error("the image was not read")
			}
			if ok, wait := c.Peek(inImage, got); !ok || wait {
				t.Errorf("an image that was read: %v, %v", ok, wait)
			}
			arenas, _ := filepath.Glob(filepath.Join(dir, "*", arenaName))
			evict(t, arenas[0])
			ok, wait := c.Peek(d, got)
			if ok == wait {
				t.Errorf("a page that is on a disk: %v, %v", ok, wait)
			}
			t.Logf("evicted: found %v, would wait %v", ok, wait)
			if !c.Read(d, got) || string(got) != string(page) {
				t.Error("the page was not read from the disk")
			}
		})
	}
}

func BenchmarkPeek(b *testing.B) {
	for name, dir := range map[string]string{"memory": "", "disk": b.TempDir(), "tmpfs": "/dev/shm/peek-bench"} {
		b.Run(name, func(b *testing.B) {
			defer os.RemoveAll("/dev/shm/peek-bench")
			key := Key{1}
			s, err := Open(Config{Dir: dir, Bytes: 16 << 20, Key: key})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			h, _ := NewHasher(key)
			page := make([]byte, lazymig.PageSize)
			var d Digest
			h.Sum(page, d[:])
			if err := s.Put(d, page); err != nil {
				b.Fatal(err)
			}
			waits := 0
			for b.Loop() {
				if ok, _ := s.Peek(d, page); !ok {
					waits++
				}
			}
			if waits > 0 {
				b.Logf("%d would wait", waits)
			}
		})
	}
}
