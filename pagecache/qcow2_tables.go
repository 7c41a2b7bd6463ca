package pagecache

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	"github.com/lazymig/lazymig"
)

// Fields of the entries of both tables, and of the bitmaps of subclusters.
const (
	qcow2Offset     = 1<<56 - 1<<9
	qcow2Compressed = 1 << 62
	qcow2Zero       = 1 << 0
	qcow2Subs       = 32 // subclusters of a cluster
)

// qcow2Image is a walk through the tables of an image.
type qcow2Image struct {
	*qcow2Header
	in   io.ReaderAt
	path string
	size int64

	compressed uint64 // clusters so far
	// left is how much more of the file can be tables and clusters. In an
	// image that is sound none of them is there twice: so what a walk does is
	// bounded by the file.
	left int64
}

func newQCOW2Image(h *qcow2Header, in io.ReaderAt, path string, size int64) *qcow2Image {
	return &qcow2Image{qcow2Header: h, in: in, path: path, size: size, left: size + h.clusterSize()}
}

// take notes a cluster that was met.
func (q *qcow2Image) take(bytes int64) error {
	if q.left -= bytes; q.left < 0 {
		return q.damaged(q.path, "its tables have more clusters than the file")
	}
	return nil
}

// layout are the clusters that hold data of the guest as it is now, in the
// order of the file for each L2 table.
func (q *qcow2Image) layout(emit func(extent) error) error {
	const atOnce = 4096 // entries of the L1 table
	raw := make([]byte, 8*min(q.l1Entries, atOnce))
	table := make([]byte, q.clusterSize())
	for at := uint64(0); at < q.l1Entries; at += atOnce {
		part := raw[:8*min(q.l1Entries-at, atOnce)]
		if _, err := q.in.ReadAt(part, q.l1Offset+int64(8*at)); err != nil {
			return fmt.Errorf("read the first table of %s: %w", q.path, err)
		}
		for ; len(part) > 0; part = part[8:] {
			offset := int64(binary.BigEndian.Uint64(part) & qcow2Offset)
			if offset == 0 {
				continue
			}
			if err := q.readL2(offset, table, emit); err != nil {
				return err
			}
		}
	}
	return nil
}

// readL2 emits the clusters of one L2 table.
func (q *qcow2Image) readL2(offset int64, table []byte, emit func(extent) error) error {
	if !q.inside(offset, q.clusterSize(), q.size) {
		return q.damaged(q.path, "a table is at %#x", offset)
	}
	if err := q.take(q.clusterSize()); err != nil {
		return err
	}
	if _, err := q.in.ReadAt(table, offset); err != nil {
		return fmt.Errorf("read a table of %s: %w", q.path, err)
	}
	extents, err := q.clusters(table)
	if err != nil {
		return err
	}
	for _, e := range joined(extents) {
		// The last cluster need not be whole, and an image in use grows.
		e.length = min(e.length, q.size-q.size%lazymig.PageSize-e.offset)
		if e.length <= 0 {
			continue
		}
		if err := emit(e); err != nil {
			return err
		}
	}
	return nil
}

// clusters returns where an L2 table has data.
func (q *qcow2Image) clusters(table []byte) (extents []extent, err error) {
	width := 8
	if q.extended {
		width = 16
	}
	for ; len(table) >= width; table = table[width:] {
		word := binary.BigEndian.Uint64(table)
		offset := int64(word & qcow2Offset)
		switch {
		case word&qcow2Compressed != 0:
			q.compressed++
			continue
		case offset == 0, !q.extended && word&qcow2Zero != 0:
			continue
		case offset%q.clusterSize() != 0:
			return nil, q.damaged(q.path, "a cluster is at %#x", offset)
		}
		if err := q.take(q.clusterSize()); err != nil {
			return nil, err
		}
		if q.extended {
			extents = q.subclusters(extents, offset, binary.BigEndian.Uint64(table[8:]))
		} else {
			extents = append(extents, extent{offset, q.clusterSize()})
		}
	}
	return extents, nil
}

// subclusters appends those pages of a cluster of which all parts hold data.
// The lower half of the bitmap says which subclusters are there, the upper one
// which of them read as zeros.
func (q *qcow2Image) subclusters(extents []extent, offset int64, bitmap uint64) []extent {
	data, sub := uint32(bitmap)&^uint32(bitmap>>qcow2Subs), q.clusterSize()/qcow2Subs
	// A page, or a subcluster if that is larger.
	step := max(sub, lazymig.PageSize)
	for at := int64(0); at < q.clusterSize(); at += step {
		mask := uint32(1<<(step/sub)-1) << (at / sub)
		if data&mask == mask {
			extents = append(extents, extent{offset + at, step})
		}
	}
	return extents
}

// joined sorts extents and makes one of those that follow each other.
func joined(extents []extent) []extent {
	slices.SortFunc(extents, func(a, b extent) int { return cmp.Compare(a.offset, b.offset) })
	out := extents[:0]
	for _, e := range extents {
		if last := len(out) - 1; last >= 0 && out[last].offset+out[last].length == e.offset {
			out[last].length += e.length
		} else {
			out = append(out, e)
		}
	}
	return out
}
