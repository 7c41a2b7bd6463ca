package pagecache

import (
	"bufio"
	"errors"
	"iter"
	"sync"
	"sync/atomic"

	"github.com/lazymig/lazymig"
)

// Images gives pages that are in indexed images. Its methods may be called by
// any number of goroutines. What is added or removed after OpenImages is not
// seen.
type Images struct {
	key      Key
	catalog  *Catalog
	images   []*usedImage
	warnings []error
	hashers  sync.Pool // of *Hasher

	hits, misses, changed, failed atomic.Uint64
}

// usedImage is an image whose table is in memory.
type usedImage struct {
	Image
	table *table
	file  imageFile
}

// ImagesStats are what images hold, and what was asked of them.
type ImagesStats struct {
	Images      int    `json:"images"`
	Blocks      uint64 `json:"blocks"`
	IndexBytes  int64  `json:"index_bytes"`
	MemoryBytes int64  `json:"memory_bytes"`

	Hits   uint64 `json:"hits"`
	Misses uint64 `json:"misses"` // of any reason
	// Changed are blocks that had other content, Failed those that could not
	// be read.
	Changed uint64 `json:"changed"`
	Failed  uint64 `json:"failed"`
}

// OpenImages reads the indexes in a cache's directory; none at all is no
// error. Those that are damaged, foreign or too many are left out, see
// Warnings. Each entry takes up to 9 bytes of memory; an image's file is
// opened when it is first needed, and stays open until Close.
func OpenImages(dir string, key Key) (*Images, error) {
	if _, err := NewHasher(key); err != nil {
		return nil, err
	}
	i := &Images{key: key, catalog: NewCatalog(dir, key)}
	i.hashers.New = func() any {
		hasher, _ := NewHasher(key) // it has worked above
		return hasher
	}
	found, wrong, err := i.catalog.List()
	if err != nil {
		return nil, err
	}
	i.warnings = wrong
	blocks := uint64(0)
	for _, m := range found {
		if blocks += m.Blocks; len(i.images) == maxImages || blocks > maxEntries {
			blocks -= m.Blocks
			i.warnings = append(i.warnings, imagesFull(m.Path))
			continue
		}
		if err := i.load(m.Path); err != nil && !errors.Is(err, ErrNoImage) { // not removed meanwhile
			i.warnings = append(i.warnings, err)
		}
	}
	return i, nil
}

func (i *Images) load(path string) error {
	in, err := i.catalog.openImage(path)
	if err != nil {
		return err
	}
	defer in.close()
	t, err := in.load(i.catalog.indexKey)
	if err != nil {
		return err
	}
	i.images = append(i.images, &usedImage{Image: in.Image, table: t, file: imageFile{path: path}})
	return nil
}

// Warnings returns why indexes were left out.
func (i *Images) Warnings() []error { return i.warnings }

// Close closes the files. Read finds nothing any more.
func (i *Images) Close() {
	for _, m := range i.images {
		m.file.close()
	}
}

// Read looks for the page with a digest, and reads it into page, of
// lazymig.PageSize bytes, from an image that has it. What was read has been
// checked against the digest; false means that it is not there, and page holds
// anything. It allocates nothing, and takes as long as the storage does.
func (i *Images) Read(d Digest, page []byte) bool {
	page = page[:lazymig.PageSize]
	for _, m := range i.images {
		for block := range m.table.find(&d) {
			if !m.file.readAt(page, offsetOf(block)) {
				i.failed.Add(1)
				continue
			}
			if i.verify(&d, page) {
				i.hits.Add(1)
				return true
			}
			i.changed.Add(1)
		}
	}
	i.misses.Add(1)
	return false
}

func (i *Images) verify(d *Digest, page []byte) bool {
	hasher := i.hashers.Get().(*Hasher)
	defer i.hashers.Put(hasher)
	return hasher.Verify(page, d[:])
}

// Contains reports whether an image had the page with a digest when it was
// indexed. Some answers in a billion are yes for a page that nobody had.
func (i *Images) Contains(d Digest) bool {
	for _, m := range i.images {
		for range m.table.find(&d) {
			return true
		}
	}
	return false
}

// All yields the digests of all images whose files are there, for a filter of
// what this host has. It reads them from the indexes, and what two images have
// comes twice. An index that cannot be read any more ends early.
func (i *Images) All() iter.Seq[Digest] {
	return func(yield func(Digest) bool) {
		for _, m := range i.images {
			if m.file.open() != nil && !i.each(m, yield) {
				return
			}
		}
	}
}

// each yields the digests of one image, and returns false if it is told to end.
func (i *Images) each(m *usedImage, yield func(Digest) bool) bool {
	in, err := i.catalog.openImage(m.Path)
	if err != nil {
		return true
	}
	defer in.close()
	for r := bufio.NewReaderSize(in.entries(), mergeBuffer); ; {
		raw, err := r.Peek(entrySize)
		if err != nil {
			return true // the end, or as good as
		}
		if !yield(parseEntry(raw).digest) {
			return false
		}
		_, _ = r.Discard(entrySize) // they have been seen
	}
}

// List returns the images that are used.
func (i *Images) List() []Image {
	list := make([]Image, len(i.images))
	for n, m := range i.images {
		list[n] = m.Image
	}
	return list
}

// Stats returns the present counts.
func (i *Images) Stats() ImagesStats {
	s := ImagesStats{
		Images: len(i.images),
		Hits:   i.hits.Load(), Misses: i.misses.Load(), Changed: i.changed.Load(), Failed: i.failed.Load(),
	}
	for _, m := range i.images {
		s.Blocks += m.Blocks
		s.IndexBytes += m.IndexBytes
		s.MemoryBytes += m.MemoryBytes()
	}
	return s
}
