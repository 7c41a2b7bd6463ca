package qemu

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/lazymig/lazymig/internal/vmm"

	"golang.org/x/sys/unix"
)

// memoryOf makes a FileMemory of one sparse file on tmpfs with two regions:
// 1 MiB at offset 0 and 64 KiB behind 1 MiB.
func memoryOf(t *testing.T) (*FileMemory, *os.File) {
	t.Helper()
	path := ramPath(t)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := f.Truncate(1<<20 + 64<<10); err != nil {
		t.Fatal(err)
	}
	var status unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &status); err != nil {
		t.Fatal(err)
	}
	m := &FileMemory{}
	for _, r := range []ram{
		{memdev: memdev{ID: "a", Size: 1 << 20, Share: true}, offset: 0},
		{memdev: memdev{ID: "b", Size: 64 << 10, Share: true}, offset: 1 << 20},
	} {
		r.kind, r.path, r.file = "memory-backend-file", path, inodeOf(&status)
		if err := m.add(os.Getpid(), r); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { m.Close() })
	return m, f
}

type extent struct{ offset, length uint64 }

func extentsOf(m *FileMemory, region int) []extent {
	var list []extent
	for offset, length := range m.Extents(region) {
		list = append(list, extent{offset, length})
	}
	return list
}

func write(t *testing.T, f *os.File, offset int64, p []byte) {
	t.Helper()
	if _, err := f.WriteAt(p, offset); err != nil {
		t.Fatal(err)
	}
}

func TestExtentsKeepHoles(t *testing.T) {
	t.Parallel()
	m, f := memoryOf(t)
	if got := extentsOf(m, 0); len(got) != 0 {
		t.Fatalf("extents of an empty file: %v", got)
	}
	write(t, f, 8192, make([]byte, 4096)) // zeros, but written
	write(t, f, 64<<10, bytes.Repeat([]byte{1}, 16<<10))
	write(t, f, 1<<20-4096, bytes.Repeat([]byte{2}, 8192)) // across both regions
	var before unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &before); err != nil {
		t.Fatal(err)
	}
	for region, want := range [][]extent{
		{{8192, 4096}, {64 << 10, 16 << 10}, {1<<20 - 4096, 4096}},
		{{0, 4096}},
	} {
		got := extentsOf(m, region)
		if len(got) != len(want) {
			t.Fatalf("extents of region %d: %v, want %v", region, got, want)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("extent %d of region %d: %v, want %v", i, region, got[i], want[i])
			}
		}
	}
	if got := m.Allocated(); got != 28<<10 {
		t.Errorf("%d bytes allocated", got)
	}
	for range m.Extents(0) {
		break // stopping early is fine
	}
	all := make([]byte, 1<<20)
	if n, err := m.ReadAt(all, 0, 0); n != len(all) || err != nil {
		t.Errorf("read %d bytes, %v", n, err)
	}
	if all[64<<10] != 1 || all[1<<20-1] != 2 || all[0] != 0 {
		t.Error("wrong bytes")
	}
	var after unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &after); err != nil {
		t.Fatal(err)
	}
	if after.Blocks != before.Blocks {
		t.Errorf("%d blocks after reading the holes, %d before", after.Blocks, before.Blocks)
	}
}

func TestReadAtChecksBounds(t *testing.T) {
	t.Parallel()
	m, f := memoryOf(t)
	write(t, f, 1<<20+64<<10-4096, bytes.Repeat([]byte{7}, 4096))
	p := make([]byte, 4096)
	if n, err := m.ReadAt(p, 1, 60<<10); n != 4096 || err != nil || p[4095] != 7 {
		t.Errorf("last page: %d, %v", n, err)
	}
	for _, bad := range []struct {
		region int
		offset uint64
	}{{-1, 0}, {2, 0}, {1, 61 << 10}, {1, 64 << 10}, {0, 1 << 63}, {0, ^uint64(0) - 100}} {
		if n, err := m.ReadAt(p, bad.region, bad.offset); n != 0 || err == nil {
			t.Errorf("region %d offset %d: %d, %v", bad.region, bad.offset, n, err)
		}
	}
	if err := f.Truncate(1 << 20); err != nil {
		t.Fatal(err)
	}
	if _, err := m.ReadAt(p, 1, 0); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("error %v of a file that was cut short", err)
	}
	if err := errors.Join(m.Close(), m.Close()); err != nil {
		t.Error(err)
	}
}

// TestReadAtPassesEIO reads an address that nothing is mapped at from
// /proc/self/mem: the kernel's EIO as from a page that the hardware has lost.
func TestReadAtPassesEIO(t *testing.T) {
	t.Parallel()
	f, err := os.Open("/proc/self/mem")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m := &FileMemory{regions: []vmm.FileRegion{vmm.NewFileRegion(f, 0, 1<<20)}}
	if _, err := m.ReadAt(make([]byte, 4096), 0, 4096); !errors.Is(err, unix.EIO) {
		t.Errorf("error %v, want EIO", err)
	}
}

func TestUnlink(t *testing.T) {
	t.Parallel()
	t.Run("another file has the name", func(t *testing.T) {
		t.Parallel()
		m, f := memoryOf(t)
		if err := errors.Join(os.Remove(f.Name()), os.WriteFile(f.Name(), []byte("mine"), 0o600), m.Unlink()); err != nil {
			t.Fatal(err)
		}
		if text, err := os.ReadFile(f.Name()); err != nil || string(text) != "mine" {
			t.Errorf("the other file: %q, %v", text, err)
		}
	})
	t.Run("missing", func(t *testing.T) {
		t.Parallel()
		m, f := memoryOf(t)
		if err := errors.Join(os.Remove(f.Name()), m.Unlink()); err != nil {
			t.Error(err)
		}
	})
	t.Run("ours", func(t *testing.T) {
		t.Parallel()
		m, f := memoryOf(t)
		write(t, f, 0, []byte("x"))
		if err := errors.Join(m.Unlink(), m.Unlink()); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(f.Name()); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the file is still there: %v", err)
		}
		if p, _, ok := firstData(m); !ok || p[0] != 'x' {
			t.Error("the memory cannot be read after Unlink")
		}
	})
}

func TestOpenFileRefusesAnother(t *testing.T) {
	t.Parallel()
	_, f := memoryOf(t)
	if g, err := openFile(f.Name(), inode{1, 1}); err == nil || !strings.Contains(err.Error(), "another file") {
		t.Errorf("opened %v, %v", g, err)
	}
}
