package pagecache

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lazymig/lazymig"
)

// qemuImg runs qemu-img, or skips the test.
func qemuImg(t testing.TB, args ...string) {
	t.Helper()
	runTool(t, "qemu-img", args...)
}

func runTool(t testing.TB, name string, args ...string) {
	t.Helper()
	program, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skipf("%v (apt-get install qemu-utils)", err)
	}
	if out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

// guestDisk is what a guest has on its disk: data, zeros between, and data
// again.
func guestDisk(t testing.TB, dir string) (path string, data []byte) {
	data = randomPages(7, 600)
	disk := slices.Concat(data[:300*lazymig.PageSize], make([]byte, 1<<20), data[300*lazymig.PageSize:], make([]byte, 1<<20))
	return writeFile(t, filepath.Join(dir, "disk.raw"), disk), data
}

// TestQCOW2 converts a disk in many ways: all of its pages are found.
func TestQCOW2(t *testing.T) {
	for name, options := range map[string]string{
		"version 2":         "compat=0.10",
		"version 3":         "compat=1.1",
		"4 KiB clusters":    "cluster_size=4k",
		"2 MiB clusters":    "cluster_size=2M",
		"other compression": "compression_type=zstd",
		"lazy refcounts":    "lazy_refcounts=on",
		"subclusters 512":   "extended_l2=on,cluster_size=16k",
		"subclusters 2k":    "extended_l2=on,cluster_size=64k",
		"subclusters 4k":    "extended_l2=on,cluster_size=128k",
		"subclusters 64k":   "extended_l2=on,cluster_size=2M",
		"preallocated":      "preallocation=metadata",
		"1-bit refcounts":   "refcount_bits=1",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			raw, data := guestDisk(t, dir)
			path := filepath.Join(dir, "disk.qcow2")
			qemuImg(t, "convert", "-f", "raw", "-O", "qcow2", "-o", options, raw, path)
			m := addImage(t, dir, path)
			if m.Format != QCOW2Format || m.Blocks != 600 || m.Compressed != 0 || m.Backing != "" || m.Duplicates != 0 {
				t.Errorf("%+v", m)
			}
			images := openImages(t, dir)
			for n := range 600 {
				if !has(t, images, pageOf(data, n)) {
					t.Fatalf("page %d is missing", n)
				}
			}
		})
	}
}

// TestQCOW2Written: parts of a disk that were written, turned to zeros and
// given back, with an internal snapshot of what was before.
func TestQCOW2Written(t *testing.T) {
	for name, options := range map[string]string{"clusters": "cluster_size=64k", "subclusters": "cluster_size=64k,extended_l2=on"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "disk.qcow2")
			qemuImg(t, "create", "-q", "-f", "qcow2", "-o", options, path, "16M")
			runTool(t, "qemu-io", "-c", "write -P 1 0 128k", "-c", "write -P 2 1M 4k", "-c", "write -P 3 2M 2k", "-c", "write -P 4 3M 64k", path)
			qemuImg(t, "snapshot", "-c", "before", path)
			runTool(t, "qemu-io", "-c", "write -P 5 0 64k", "-c", "write -z 3M 64k", "-c", "discard 64k 64k", path)
			m := addImage(t, dir, path)
			if m.Snapshots != 1 || m.Unreadable != 0 {
				t.Errorf("%+v", m)
			}
			images := openImages(t, dir)
			for fill, want := range map[byte]bool{1: false, 2: true, 4: false, 5: true} {
				if got := has(t, images, bytes.Repeat([]byte{fill}, lazymig.PageSize)); got != want {
					t.Errorf("page of %ds is there: %v", fill, got)
				}
			}
			// The page of which only a half was written.
			half := append(bytes.Repeat([]byte{3}, 2048), make([]byte, 2048)...)
			if got, want := has(t, images, half), name == "clusters"; got != want {
				t.Errorf("half a page is there: %v", got)
			}
		})
	}
}

func TestQCOW2Compressed(t *testing.T) {
	dir := t.TempDir()
	raw := writeFile(t, filepath.Join(dir, "raw"), bytes.Repeat([]byte("easy to compress"), 1<<16))
	path := filepath.Join(dir, "disk.qcow2")
	qemuImg(t, "convert", "-c", "-f", "raw", "-O", "qcow2", raw, path)
	if m := addImage(t, dir, path); m.Compressed != 16 || m.Blocks != 0 {
		t.Errorf("%+v", m)
	}
}

func TestQCOW2Backing(t *testing.T) {
	dir := t.TempDir()
	raw, data := guestDisk(t, dir)
	path := filepath.Join(dir, "overlay.qcow2")
	qemuImg(t, "create", "-q", "-f", "qcow2", "-b", raw, "-F", "raw", path)
	runTool(t, "qemu-io", "-c", "write -P 7 64k 64k", path)
	m := addImage(t, dir, path)
	if m.Backing != raw || m.Blocks != 1 || m.Duplicates != 15 {
		t.Errorf("%+v", m)
	}
	images := openImages(t, dir)
	if has(t, images, pageOf(data, 0)) || !has(t, images, bytes.Repeat([]byte{7}, lazymig.PageSize)) {
		t.Error("the backing file was followed, or the overlay not read")
	}
}

func TestQCOW2Refused(t *testing.T) {
	dir := t.TempDir()
	for name, args := range map[string][]string{
		"encrypted":    {"--object", "secret,id=s,data=x", "-o", "encrypt.format=aes,encrypt.key-secret=s"},
		"another file": {"-o", "data_file=" + filepath.Join(dir, "data")},
		"smaller than": {"-o", "cluster_size=512"},
	} {
		path := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
		qemuImg(t, append(append([]string{"create", "-q", "-f", "qcow2"}, args...), path, "1M")...)
		_, err := NewCatalog(dir, testKey).Add(t.Context(), AddConfig{Path: path})
		hint, _ := errors.AsType[*ImageError](err)
		if !errors.Is(err, ErrImage) || !strings.Contains(err.Error(), name) || hint == nil || hint.Hint() == "" {
			t.Errorf("%s: %v", name, err)
		}
		// As what it is not, any file can be indexed.
		if _, err := NewCatalog(dir, testKey).Add(t.Context(), AddConfig{Path: path, Format: RawFormat}); err != nil {
			t.Errorf("%s as raw: %v", name, err)
		}
	}
	raw := writeFile(t, filepath.Join(dir, "raw"), randomPages(1, 1))
	if _, err := NewCatalog(dir, testKey).Add(t.Context(), AddConfig{Path: raw, Format: QCOW2Format}); !errors.Is(err, ErrImage) {
		t.Errorf("raw as qcow2: %v", err)
	}
}

// smallQCOW2 returns an image by hand: header, L1 table, L2 table and two
// clusters of 4 KiB, of which the guest has the second first.
func smallQCOW2() []byte {
	image := make([]byte, 5*4096)
	be := binary.BigEndian
	copy(image, qcow2Magic)
	be.PutUint32(image[4:], 3)
	be.PutUint32(image[20:], 12)   // bits of a cluster
	be.PutUint64(image[24:], 8192) // size of the disk
	be.PutUint32(image[36:], 1)    // entries in the L1 table
	be.PutUint64(image[40:], 4096) // where it is
	be.PutUint32(image[100:], 104)
	be.PutUint64(image[4096:], 1<<63|2*4096)
	be.PutUint64(image[2*4096:], 1<<63|4*4096)
	be.PutUint64(image[2*4096+8:], 1<<63|3*4096)
	copy(image[3*4096:], randomPages(1, 2))
	return image
}

// walkQCOW2 returns the extents of an image in memory.
func walkQCOW2(image []byte) (extents []extent, err error) {
	r := bytes.NewReader(image)
	h, err := readQCOW2Header(r, "image", r.Size())
	if err != nil {
		return nil, err
	}
	err = newQCOW2Image(h, r, "image", r.Size()).layout(func(e extent) error {
		extents = append(extents, e)
		return nil
	})
	return extents, err
}

func TestQCOW2Walk(t *testing.T) {
	image := smallQCOW2()
	extents, err := walkQCOW2(image)
	if want := []extent{{3 * 4096, 2 * 4096}}; err != nil || !slices.Equal(extents, want) {
		t.Errorf("%v, %v; want %v", extents, err, want)
	}
	// The file ends in the middle of the last cluster.
	extents, err = walkQCOW2(image[:4*4096+100])
	if want := []extent{{3 * 4096, 4096}}; err != nil || !slices.Equal(extents, want) {
		t.Errorf("%v, %v; want %v", extents, err, want)
	}
}

func TestQCOW2Hostile(t *testing.T) {
	be := binary.BigEndian
	for name, change := range map[string]func(image []byte) []byte{
		"version 4":               func(i []byte) []byte { be.PutUint32(i[4:], 4); return i },
		"cluster of 2^8":          func(i []byte) []byte { be.PutUint32(i[20:], 8); return i },
		"cluster of 2^22":         func(i []byte) []byte { be.PutUint32(i[20:], 22); return i },
		"cluster of 2^4294967295": func(i []byte) []byte { be.PutUint32(i[20:], 1<<32-1); return i },
		"a disk of 2^64":          func(i []byte) []byte { be.PutUint64(i[24:], 1<<64-1); return i },
		"a disk of 2^40":          func(i []byte) []byte { be.PutUint64(i[24:], 1<<40); return i },
		"no L1 table":             func(i []byte) []byte { be.PutUint32(i[36:], 0); return i },
		"L1 table at 0":           func(i []byte) []byte { be.PutUint64(i[40:], 0); return i },
		"L1 table not aligned":    func(i []byte) []byte { be.PutUint64(i[40:], 4104); return i },
		"L1 table at the end":     func(i []byte) []byte { be.PutUint64(i[40:], 5*4096); return i },
		"L1 table at 2^63":        func(i []byte) []byte { be.PutUint64(i[40:], 1<<63); return i },
		"unknown feature":         func(i []byte) []byte { be.PutUint64(i[72:], 1<<40); return i },
		"corrupt":                 func(i []byte) []byte { be.PutUint64(i[72:], qcow2Corrupt); return i },
		"tiny subclusters":        func(i []byte) []byte { be.PutUint64(i[72:], qcow2ExtendedL2); return i },
		"long backing":            func(i []byte) []byte { be.PutUint64(i[8:], 200); be.PutUint32(i[16:], 1024); return i },
		"far backing":             func(i []byte) []byte { be.PutUint64(i[8:], 1<<62); be.PutUint32(i[16:], 4); return i },
		"L2 table outside":        func(i []byte) []byte { be.PutUint64(i[4096:], 9*4096); return i },
		"L2 table not aligned":    func(i []byte) []byte { be.PutUint64(i[4096:], 2*4096+512); return i },
		"cluster not aligned":     func(i []byte) []byte { be.PutUint64(i[2*4096:], 3*4096+512); return i },
		"only a header":           func(i []byte) []byte { return i[:104] },
		"half a header":           func(i []byte) []byte { return i[:50] },
		"the same cluster often": func(i []byte) []byte {
			be.PutUint64(i[24:], 512*4096)
			for n := range 512 {
				be.PutUint64(i[2*4096+8*n:], 3*4096)
			}
			return i
		},
		"the same L2 table often": func(i []byte) []byte {
			be.PutUint64(i[24:], 512*512*4096)
			be.PutUint32(i[36:], 512)
			for n := range 512 {
				be.PutUint64(i[4096+8*n:], 2*4096)
			}
			return i
		},
	} {
		if extents, err := walkQCOW2(change(smallQCOW2())); !errors.Is(err, ErrImage) {
			t.Errorf("%s: %v, %v", name, extents, err)
		}
	}
}

func FuzzQCOW2(f *testing.F) {
	f.Add(smallQCOW2())
	f.Fuzz(func(t *testing.T, image []byte) {
		extents, _ := walkQCOW2(image)
		sum := int64(0)
		for _, e := range extents {
			if e.offset%lazymig.PageSize != 0 || e.length <= 0 || e.length%lazymig.PageSize != 0 || e.offset+e.length > int64(len(image)) {
				t.Errorf("%+v of %d bytes", e, len(image))
			}
			sum += e.length
		}
		if sum > int64(len(image))+1<<maxClusterBits {
			t.Errorf("%d bytes in a file of %d", sum, len(image))
		}
	})
}
