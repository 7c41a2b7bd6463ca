package pagecache

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/FastFilter/xorfilter"
)

// Errors of filters.
var (
	// ErrFilterSize is returned for more than MaxFilterEntries digests.
	ErrFilterSize = errors.New("too many digests for a filter")
	// ErrFilter is returned by ParseFilter for bytes that are no filter.
	ErrFilter = errors.New("invalid membership filter")
)

// Filter tells which digests are in a set: always yes for one that is, and yes
// for one of 256 that is not. It is a binary fuse filter of about 9 bits an
// entry. It does not change, and any number of goroutines can use it.
type Filter struct {
	entries uint32
	fuse    xorfilter.BinaryFuse[uint8] // nothing in it without entries
}

// NewFilter returns a filter of all digests, each of which may come more than
// once. While it is made it takes some 40 bytes for each of them.
func NewFilter(digests iter.Seq[Digest]) (*Filter, error) {
	tags, err := collectTags(digests, MaxFilterEntries)
	if err != nil {
		return nil, err
	}
	return newFilter(tags)
}

// collectTags returns the tags of at most limit different digests.
func collectTags(digests iter.Seq[Digest], limit int) ([]uint64, error) {
	var tags []uint64
	for d := range digests {
		if len(tags) == limit {
			// Many may be there twice, from a cache and from an image.
			if tags = unique(tags); len(tags) == limit {
				return nil, ErrFilterSize
			}
		}
		tags = append(tags, d.tag())
	}
	return tags, nil
}

func unique(tags []uint64) []uint64 {
	slices.Sort(tags)
	return slices.Compact(tags)
}

// newFilter makes a filter of tags, which it changes. The library can stand
// some duplicates, but not one key many times.
func newFilter(tags []uint64) (*Filter, error) {
	tags = unique(tags)
	if len(tags) > MaxFilterEntries {
		return nil, ErrFilterSize
	}
	f := &Filter{entries: uint32(len(tags))}
	if len(tags) == 0 {
		return f, nil
	}
	fuse, err := xorfilter.NewBinaryFuse[uint8](tags)
	if err != nil {
		return nil, fmt.Errorf("make a filter of %d digests: %w", len(tags), err)
	}
	f.fuse = *fuse
	return f, nil
}

// Entries returns how many digests the filter was made of.
func (f *Filter) Entries() int { return int(f.entries) }

// Contains reports whether the set very likely has d.
func (f *Filter) Contains(d Digest) bool {
	return len(f.fuse.Fingerprints) > 0 && f.fuse.Contains(d.tag())
}

// The encoded form, little-endian: entries 4, segment length 4, segments 4,
// seed 8, fingerprints of (segments + 2) × segment length bytes. An empty filter
// is a header of zeros.
const filterHeader = 20

// MarshalBinary returns the encoded form. It does not fail.
func (f *Filter) MarshalBinary() ([]byte, error) {
	b := make([]byte, 0, filterHeader+len(f.fuse.Fingerprints))
	b = binary.LittleEndian.AppendUint32(b, f.entries)
	b = binary.LittleEndian.AppendUint32(b, f.fuse.SegmentLength)
	b = binary.LittleEndian.AppendUint32(b, f.fuse.SegmentCount)
	b = binary.LittleEndian.AppendUint64(b, f.fuse.Seed)
	return append(b, f.fuse.Fingerprints...), nil
}

// ParseFilter reads the encoded form, which may come from anybody, and keeps no
// part of b. It returns an error that wraps ErrFilter if something in it does
// not fit.
func ParseFilter(b []byte) (*Filter, error) {
	if len(b) < filterHeader || len(b) > MaxFilterBytes {
		return nil, fmt.Errorf("%w: %d bytes", ErrFilter, len(b))
	}
	f := &Filter{entries: binary.LittleEndian.Uint32(b)}
	length, segments := binary.LittleEndian.Uint32(b[4:]), binary.LittleEndian.Uint32(b[8:])
	fingerprints := b[filterHeader:]
	switch {
	case f.entries > MaxFilterEntries:
		return nil, fmt.Errorf("%w: %d entries", ErrFilter, f.entries)
	case len(b) == filterHeader && [filterHeader]byte(b) == [filterHeader]byte{}:
		return f, nil
	case f.entries == 0 || length == 0 || length > maxSegment || length&(length-1) != 0 || segments == 0:
		return nil, fmt.Errorf("%w: %d entries in %d segments of %d", ErrFilter, f.entries, segments, length)
	case (uint64(segments)+2)*uint64(length) != uint64(len(fingerprints)):
		return nil, fmt.Errorf("%w: %d fingerprints for %d segments of %d", ErrFilter, len(fingerprints), segments, length)
	}
	f.fuse = xorfilter.BinaryFuse[uint8]{
		Seed:          binary.LittleEndian.Uint64(b[12:]),
		SegmentLength: length, SegmentLengthMask: length - 1,
		SegmentCount: segments, SegmentCountLength: segments * length,
		Fingerprints: slices.Clone(fingerprints),
	}
	return f, nil
}
