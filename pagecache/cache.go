package pagecache

import (
	"errors"
	"iter"
)

// Cache is all that a host has: a Store of pages that have been seen, and
// Images on its disks. Its methods are safe for any number of goroutines.
type Cache struct {
	store  *Store
	images *Images // nil without a directory
}

// OpenCache opens the Store of cfg and the images of its directory. Its errors
// are those of Open and OpenImages.
func OpenCache(cfg Config) (*Cache, error) {
	store, err := Open(cfg)
	if err != nil {
		return nil, err
	}
	c := &Cache{store: store}
	if cfg.Dir == "" {
		return c, nil
	}
	if c.images, err = OpenImages(cfg.Dir, cfg.Key); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return c, nil
}

// Read fills page, of lazymig.PageSize bytes, with the page of digest d, and
// verifies it. False is a miss.
func (c *Cache) Read(d Digest, page []byte) bool {
	return c.store.Read(d, page) || c.images != nil && c.images.Read(d, page)
}

// Put keeps page, whose digest the caller has verified. It may be dropped: Stats
// of the Store counts that.
func (c *Cache) Put(d Digest, page []byte) {
	_ = c.store.Put(d, page) // it is counted, and a cache loses nothing by it
}

// All yields the digests of all pages; one may come twice.
func (c *Cache) All() iter.Seq[Digest] {
	return func(yield func(Digest) bool) {
		for d := range c.store.All() {
			if !yield(d) {
				return
			}
		}
		if c.images == nil {
			return
		}
		for d := range c.images.All() {
			if !yield(d) {
				return
			}
		}
	}
}

// Filter returns the encoded membership filter of all pages.
func (c *Cache) Filter() ([]byte, error) {
	f, err := NewFilter(c.All())
	if err != nil {
		return nil, err
	}
	return f.MarshalBinary()
}

// Store returns the pages that have been seen.
func (c *Cache) Store() *Store { return c.store }

// Images returns the images, or nil.
func (c *Cache) Images() *Images { return c.images }

// Close gives files and lock back.
func (c *Cache) Close() error {
	if c.images != nil {
		c.images.Close()
	}
	return c.store.Close()
}
