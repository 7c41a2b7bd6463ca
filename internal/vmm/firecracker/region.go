package firecracker

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/lazymig/lazymig"
)

// Region is one piece of a guest's memory. All fields are in bytes.
type Region struct {
	// Address is where the region begins in the VMM's address space.
	Address uint64
	// Size is its length.
	Size uint64
	// Offset is where its content begins in the memory file.
	Offset uint64
	// PageSize is the size of the pages that back it.
	PageSize uint64
}

// end and fileEnd are one behind the last byte. Checked regions do not wrap.
func (r Region) end() uint64     { return r.Address + r.Size }
func (r Region) fileEnd() uint64 { return r.Offset + r.Size }

func (r Region) String() string {
	return fmt.Sprintf("region of %d bytes at %#x, offset %#x", r.Size, r.Address, r.Offset)
}

// checkRegions returns an error that wraps ErrMessage for regions that no
// guest can have. Whether the memory file reaches so far is the caller's to
// check.
func checkRegions(regions []Region) error {
	if len(regions) == 0 || len(regions) > lazymig.MaxRegions {
		return fmt.Errorf("%w: %d regions, want 1 to %d", ErrMessage, len(regions), lazymig.MaxRegions)
	}
	var sum uint64
	for i, r := range regions {
		if err := r.check(); err != nil {
			return fmt.Errorf("%w: region %d: %w", ErrMessage, i, err)
		}
		if sum += r.Size; sum > lazymig.MaxBytes {
			return fmt.Errorf("%w: more than %d bytes together", ErrMessage, lazymig.MaxBytes)
		}
	}
	if err := checkOverlap(regions, Region.start, Region.end, "in memory"); err != nil {
		return err
	}
	return checkOverlap(regions, Region.fileStart, Region.fileEnd, "in the memory file")
}

func (r Region) start() uint64     { return r.Address }
func (r Region) fileStart() uint64 { return r.Offset }

func (r Region) check() error {
	page := r.PageSize
	switch {
	case page < lazymig.PageSize || page > maxPageSize || page&(page-1) != 0:
		return fmt.Errorf("its pages have %d bytes", page)
	case r.Size == 0:
		return fmt.Errorf("%s is empty", r)
	case r.Size > lazymig.MaxBytes || r.Offset > lazymig.MaxBytes:
		return fmt.Errorf("%s is over %d bytes", r, lazymig.MaxBytes)
	case r.Address == 0 || r.Address >= maxAddress || r.Size > maxAddress-r.Address:
		return fmt.Errorf("%s reaches out of the address space", r)
	case (r.Address|r.Size|r.Offset)%page != 0:
		return fmt.Errorf("%s does not consist of whole pages of %d bytes", r, page)
	}
	return nil
}

// checkOverlap fails if two of the regions share a byte of a space.
func checkOverlap(regions []Region, from, to func(Region) uint64, where string) error {
	sorted := slices.SortedFunc(slices.Values(regions), func(a, b Region) int { return cmp.Compare(from(a), from(b)) })
	for i := 1; i < len(sorted); i++ {
		if to(sorted[i-1]) > from(sorted[i]) {
			return fmt.Errorf("%w: %s overlaps %s %s", ErrMessage, sorted[i-1], sorted[i], where)
		}
	}
	return nil
}
