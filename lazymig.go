package lazymig

import (
	"encoding/hex"
	"errors"
	"fmt"
	"time"
)

// PageSize is the size of what lazymig moves, in bytes: a page, or one of the 512
// parts of a huge page.
const PageSize = 4096

// HugePageSize is the size of the huge pages that a guest's memory may be in, in
// bytes.
const HugePageSize = 2 << 20

// MaxRegions bounds the RAM regions of one guest: NUMA backends plus DIMMs.
const MaxRegions = 256

// MaxBytes bounds the RAM of one guest, so that page arithmetic on numbers
// from a peer cannot overflow.
const MaxBytes = uint64(1) << 46

// ErrLayout is returned by Layout.Validate for regions that no guest can have.
var ErrLayout = errors.New("invalid memory layout")

// PageNumber numbers the pages of a guest from 0 across all regions of its
// Layout, in order. It is neither an address nor a guest-physical frame.
type PageNumber uint64

// Epoch counts the migrations of one VM. Each attempt raises it.
type Epoch uint64

// VMID is the identity that lazymig gives a VM at its first send.
type VMID [16]byte

// String returns the identity as 32 hexadecimal digits.
func (id VMID) String() string { return hex.EncodeToString(id[:]) }

// Run is a run of pages: First and the Count-1 pages behind it.
type Run struct {
	First PageNumber
	Count uint64
}

// End returns the page behind the last page of the run.
func (r Run) End() PageNumber { return r.First + PageNumber(r.Count) }

// HotPage is a page that a guest touched soon after one of its switches.
type HotPage struct {
	Page PageNumber `json:"page"`
	// Epoch is the migration in which that was seen last.
	Epoch Epoch `json:"epoch"`
	// After is how long behind the resume it was; negative while the device
	// state was loaded.
	After time.Duration `json:"after_ns"`
}

// Region is one RAM block of a guest.
type Region struct {
	// Name is the VMM's own name of the block, such as "ram0".
	Name string `json:"name"`
	// Size is in bytes, a multiple of PageSize.
	Size uint64 `json:"size"`
}

// Layout lists the RAM blocks of a guest in the order that both sides use.
type Layout []Region

// Bytes returns the size of all regions.
func (l Layout) Bytes() uint64 {
	var n uint64
	for _, r := range l {
		n += r.Size
	}
	return n
}

// Pages returns the number of pages of all regions.
func (l Layout) Pages() uint64 { return l.Bytes() / PageSize }

// First returns the number of the first page of region i.
func (l Layout) First(i int) PageNumber {
	return PageNumber(l[:i].Pages())
}

// Locate returns the region that holds page p and the byte offset of p in it.
// ok is false when p is behind the last page.
func (l Layout) Locate(p PageNumber) (region int, offset uint64, ok bool) {
	for i, r := range l {
		n := PageNumber(r.Size / PageSize)
		if p < n {
			return i, uint64(p) * PageSize, true
		}
		p -= n
	}
	return 0, 0, false
}

// Contains reports whether every page of run belongs to the layout.
func (l Layout) Contains(run Run) bool {
	n := l.Pages()
	return run.Count > 0 && run.Count <= n && uint64(run.First) <= n-run.Count
}

// Validate returns an error that wraps ErrLayout unless the layout has 1 to
// MaxRegions uniquely named, page-aligned, non-empty regions of at most
// MaxBytes together.
func (l Layout) Validate() error {
	if len(l) == 0 || len(l) > MaxRegions {
		return fmt.Errorf("%w: %d regions", ErrLayout, len(l))
	}
	seen := make(map[string]bool, len(l))
	var sum uint64
	for _, r := range l {
		switch {
		case r.Name == "" || seen[r.Name]:
			return fmt.Errorf("%w: region name %q is empty or used twice", ErrLayout, r.Name)
		case r.Size == 0 || r.Size%PageSize != 0 || r.Size > MaxBytes:
			return fmt.Errorf("%w: region %s has %d bytes", ErrLayout, r.Name, r.Size)
		}
		seen[r.Name] = true
		sum += r.Size
	}
	if sum > MaxBytes {
		return fmt.Errorf("%w: %d bytes", ErrLayout, sum)
	}
	return nil
}

// Equal reports whether both layouts have the same regions in the same order.
func (l Layout) Equal(o Layout) bool {
	if len(l) != len(o) {
		return false
	}
	for i := range l {
		if l[i] != o[i] {
			return false
		}
	}
	return true
}
