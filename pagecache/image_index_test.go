package pagecache

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/lazymig/lazymig"
	"github.com/zeebo/blake3"
)

// indexOf returns an index with these entries.
func indexOf(t testing.TB, m Image, entries []entry) []byte {
	t.Helper()
	key := testKey.indexKey()
	var body []byte
	for _, e := range entries {
		body = e.append(body)
	}
	m.Blocks = uint64(len(entries))
	header, err := encodeHeader(m, sumOf(t, body), key)
	if err != nil {
		t.Fatal(err)
	}
	return append(header, body...)
}

func sumOf(t testing.TB, raw []byte) [DigestSize]byte {
	t.Helper()
	key := testKey.indexKey()
	hasher, err := blake3.NewKeyed(key[:])
	if err != nil {
		t.Fatal(err)
	}
	_, _ = hasher.Write(raw) // a hash never fails to take bytes
	return [DigestSize]byte(hasher.Sum(nil))
}

// parseIndex reads an index as a whole.
func parseIndex(raw []byte) (Image, *table, error) {
	r := bytes.NewReader(raw)
	key := testKey.indexKey()
	m, sum, err := readHeader(r, int64(len(raw)), key)
	if err != nil {
		return m, nil, err
	}
	t, err := readEntries(io.LimitReader(r, int64(m.Blocks)*entrySize), m, sum, key)
	return m, t, err
}

var someImage = Image{
	Path: "/srv/a", Format: QCOW2Format, Backing: "b", Snapshots: 3, Size: 10 * lazymig.PageSize, Modified: time.Unix(1, 2),
	Inode: 5, Device: 6, Added: time.Unix(3, 4), Zero: 7, Duplicates: 8, Compressed: 9, Unreadable: 10,
}

var someEntries = []entry{{Digest{1, 4: 1}, 4}, {Digest{1, 4: 1, 8: 1}, 5}, {Digest{2}, 0}, {Digest{0xff}, 9}}

func TestIndexRoundTrip(t *testing.T) {
	raw := indexOf(t, someImage, someEntries)
	m, table, err := parseIndex(raw)
	if err != nil {
		t.Fatal(err)
	}
	want := someImage
	want.Blocks, want.IndexBytes = 4, int64(len(raw))
	if m != want {
		t.Errorf("%+v, want %+v", m, want)
	}
	for _, e := range someEntries {
		if !table.has(&e.digest, e.block) || table.has(&e.digest, e.block+10) {
			t.Errorf("entry %v", e)
		}
	}
	// Both may be meant by the first bytes of either.
	if found := slices.Collect(table.find(&someEntries[0].digest)); !slices.Equal(found, []uint32{4, 5}) {
		t.Errorf("%v", found)
	}
}

// TestIndexDamaged cuts an index at every length and turns every bit of it.
func TestIndexDamaged(t *testing.T) {
	raw := indexOf(t, someImage, someEntries)
	for n := range raw {
		if _, _, err := parseIndex(raw[:n]); err == nil {
			t.Errorf("cut at %d: no error", n)
		}
		for bit := range 8 {
			raw[n] ^= 1 << bit
			if _, _, err := parseIndex(raw); err == nil {
				t.Errorf("byte %d, bit %d: no error", n, bit)
			}
			raw[n] ^= 1 << bit
		}
	}
	if _, _, err := parseIndex(append(slices.Clone(raw), 0)); err == nil {
		t.Error("one byte more: no error")
	}
}

// TestIndexLies: what is authentic and wrong is refused, too.
func TestIndexLies(t *testing.T) {
	for name, lie := range map[string]struct {
		change  func(*Image)
		entries []entry
	}{
		"out of order":     {entries: []entry{{Digest{2}, 1}, {Digest{1}, 2}}},
		"twice":            {entries: []entry{{Digest{2}, 1}, {Digest{2}, 2}}},
		"beyond the image": {entries: []entry{{Digest{2}, 10}}},
		"far beyond":       {entries: []entry{{Digest{2}, 1<<32 - 1}}},
		"negative size":    {change: func(m *Image) { m.Size = -1 }},
		"no path":          {change: func(m *Image) { m.Path = "" }},
		"a long backing":   {change: func(m *Image) { m.Backing = string(make([]byte, maxBacking+1)) }},
	} {
		m := someImage
		if lie.change != nil {
			lie.change(&m)
		}
		if _, _, err := parseIndex(indexOf(t, m, lie.entries)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestDamagedIndexIsLeftOut: the others are used.
func TestDamagedIndexIsLeftOut(t *testing.T) {
	for name, damage := range map[string]func(raw []byte) []byte{
		"empty":       func([]byte) []byte { return nil },
		"cut":         func(raw []byte) []byte { return raw[:len(raw)-1] },
		"header":      func(raw []byte) []byte { raw[20] ^= 1; return raw },
		"last entry":  func(raw []byte) []byte { raw[len(raw)-1] ^= 1; return raw },
		"new version": func(raw []byte) []byte { raw[8]++; return raw },
		"foreign":     func([]byte) []byte { return bytes.Repeat([]byte("foreign "), 1000) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			good := writeFile(t, filepath.Join(dir, "good"), randomPages(1, 3))
			bad := writeFile(t, filepath.Join(dir, "bad"), randomPages(2, 3))
			addImage(t, dir, good)
			addImage(t, dir, bad)
			c := NewCatalog(dir, testKey)
			raw, err := os.ReadFile(c.indexPath(bad))
			if err != nil {
				t.Fatal(err)
			}
			writeFile(t, c.indexPath(bad), damage(raw))
			images := openImages(t, dir)
			if w := images.Warnings(); len(w) != 1 || !errors.Is(w[0], ErrImageIndex) {
				t.Errorf("%v", w)
			}
			if !has(t, images, randomPages(1, 1)) || has(t, images, randomPages(2, 1)) {
				t.Error("the wrong one was left out")
			}
			if _, err := c.Verify(t.Context(), bad, nil); !errors.Is(err, ErrImageIndex) {
				t.Errorf("verify: %v", err)
			}
			if err := c.Remove(bad); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("another name", func(t *testing.T) {
		dir := t.TempDir()
		path := writeFile(t, filepath.Join(dir, "image"), randomPages(1, 3))
		addImage(t, dir, path)
		c := NewCatalog(dir, testKey)
		if err := os.Link(c.indexPath(path), filepath.Join(c.Dir(), "copy"+indexSuffix)); err != nil {
			t.Fatal(err)
		}
		if images := openImages(t, dir); images.Stats().Images != 1 || len(images.Warnings()) != 1 {
			t.Errorf("%v", images.Warnings())
		}
	})
}

// FuzzIndex parses what it is given, both as it is and with sums that fit.
func FuzzImageIndex(f *testing.F) {
	f.Add(indexOf(f, someImage, someEntries))
	f.Add(indexOf(f, someImage, nil))
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, mended := range [][]byte{raw, mendIndex(t, raw)} {
			m, table, err := parseIndex(mended)
			if err != nil {
				continue
			}
			if len(table.blocks) != int(m.Blocks) || m.Path == "" {
				t.Errorf("%d entries, header %+v", len(table.blocks), m)
			}
			for _, block := range table.blocks {
				if offsetOf(block)+lazymig.PageSize > m.Size {
					t.Errorf("block %d of %d bytes", block, m.Size)
				}
			}
			for n := range table.blocks {
				d := Digest(mended[headerLength(m)+n*entrySize:])
				if !table.has(&d, table.blocks[n]) {
					t.Errorf("entry %d is lost", n)
				}
			}
		}
	})
}

// mendIndex makes the sums of an index fit its content.
func mendIndex(t testing.TB, raw []byte) []byte {
	if len(raw) < minHeader {
		return raw
	}
	raw = slices.Clone(raw)
	length := int(raw[12]) | int(raw[13])<<8
	if length < minHeader || length > len(raw) {
		return raw
	}
	body := sumOf(t, raw[length:])
	copy(raw[24:], body[:])
	header := sumOf(t, raw[:length-DigestSize])
	copy(raw[length-DigestSize:], header[:])
	return raw
}

// TestTableSizes: each entry is found whatever the number of buckets is, and
// the memory is as stated.
func TestTableSizes(t *testing.T) {
	for _, entries := range []int{0, 1, 2, 7, 8, 9, 1000, 4097} {
		digests := make([]Digest, entries)
		for n := range digests {
			digests[n] = digestOf(t, randomPages(uint64(n), 1))
		}
		slices.SortFunc(digests, func(a, b Digest) int { return bytes.Compare(a[:], b[:]) })
		table := newTable(uint64(entries))
		for n, d := range digests {
			table.add(d[:], uint32(n))
		}
		table.finish()
		for n, d := range digests {
			if !table.has(&d, uint32(n)) {
				t.Errorf("entry %d of %d is missing", n, entries)
			}
		}
		if table.has(&Digest{1, 2, 3}, 0) {
			t.Error("an entry that was not added")
		}
		held := int64(4 * (cap(table.tags) + cap(table.blocks) + cap(table.starts)))
		if held != tableBytes(uint64(entries)) || entries >= 8 && held > int64(9*entries+4) {
			t.Errorf("%d entries: %d bytes, stated as %d", entries, held, tableBytes(uint64(entries)))
		}
	}
}
