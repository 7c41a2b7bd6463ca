package pagecache

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/lazymig/lazymig"
)

// ImageCheck is how much of an image is as it was indexed.
type ImageCheck struct {
	Image
	// Intact, Changed and Lost are blocks: as they were, other content, and
	// those that the storage did not give.
	Intact  uint64 `json:"blocks_intact"`
	Changed uint64 `json:"blocks_changed"`
	Lost    uint64 `json:"blocks_unreadable"`
	// Gone says why the file cannot be opened. All blocks are lost then.
	Gone string `json:"gone,omitempty"`
}

// Verify checks all of an image's index, and each block of its file. An image
// that has changed is no error. The error wraps ErrNoImage, or ErrImageIndex if
// the index is damaged.
func (c *Catalog) Verify(ctx context.Context, path string, progress func(done, total int64)) (ImageCheck, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return ImageCheck{}, fmt.Errorf("find %s: %w", path, err)
	}
	in, err := c.openImage(path)
	if err != nil {
		return ImageCheck{}, err
	}
	defer in.close()
	t, err := in.load(c.indexKey)
	if err != nil {
		return ImageCheck{}, err
	}
	check := ImageCheck{Image: in.Image}
	file, now, err := openImage(path)
	if err != nil {
		check.Lost, check.Gone = check.Blocks, why(err)
		return check, nil
	}
	defer file.Close()
	// Each block is looked up, rather than each digest, so that the file is
	// read from its beginning to its end.
	intact := make([]uint64, scanners())
	s := &scan{
		file: file, key: c.key, progress: progress, total: int64(check.Blocks) * lazymig.PageSize,
		visitor: func(worker int) visitor {
			return func(block uint32, d *Digest) error {
				if t.has(d, block) {
					intact[worker]++
				}
				return nil
			}
		},
	}
	if err := s.run(ctx, indexedLayout(t, now.Size)); err != nil {
		return check, fmt.Errorf("verify %s: %w", path, err)
	}
	for _, n := range intact {
		check.Intact += n
	}
	check.Lost = s.counts.unreadable
	check.Changed = check.Blocks - check.Intact - check.Lost
	return check, nil
}

// why returns what openImage says, without the path.
func why(err error) string {
	if e, ok := errors.AsType[*ImageError](err); ok {
		return e.text
	}
	return errors.Unwrap(err).Error()
}

// indexedLayout are the blocks of an index that are inside a file of size
// bytes, in the order of the file.
func indexedLayout(t *table, size int64) layout {
	blocks := slices.Clone(t.blocks)
	slices.Sort(blocks)
	return func(emit func(extent) error) error {
		for len(blocks) > 0 {
			n := 1
			for n < len(blocks) && blocks[n] == blocks[n-1]+1 {
				n++
			}
			e := extent{offsetOf(blocks[0]), int64(n) * lazymig.PageSize}
			if e.length = min(e.length, size-size%lazymig.PageSize-e.offset); e.length <= 0 {
				return nil
			}
			if err := emit(e); err != nil {
				return err
			}
			blocks = blocks[n:]
		}
		return nil
	}
}
