package migrate

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/internal/vmm"
)

// span is a run of pages that lies in one piece of the VMM's address space.
type span struct {
	first lazymig.PageNumber
	pages uint64
	start uint64 // address of the first page
	huge  bool   // the kernel takes 512 of them at a time
}

func (s span) end() lazymig.PageNumber { return s.first + lazymig.PageNumber(s.pages) }

// spans translates between page numbers and addresses of the VMM. A guest has
// a handful, so both look-ups walk them.
type spans []span

func newSpans(layout lazymig.Layout, mappings []vmm.Mapping) (spans, error) {
	var out spans
	var covered uint64
	for _, m := range mappings {
		if m.Region < 0 || m.Region >= len(layout) || m.Offset+m.Length > layout[m.Region].Size {
			return nil, fmt.Errorf("map guest memory: mapping at %#x lies outside the layout", m.Start)
		}
		first := layout.First(m.Region) + lazymig.PageNumber(m.Offset/lazymig.PageSize)
		out = append(out, span{first: first, pages: m.Length / lazymig.PageSize, start: m.Start, huge: m.Huge})
		covered += m.Length
	}
	if covered != layout.Bytes() {
		return nil, fmt.Errorf("map guest memory: mappings cover %d of %d bytes", covered, layout.Bytes())
	}
	return out, nil
}

// address returns where page p lies and how many pages follow it without a
// gap, itself included. p must belong to the layout.
func (s spans) address(p lazymig.PageNumber) (address, pages uint64) {
	for _, x := range s {
		if p >= x.first && p < x.end() {
			return x.start + uint64(p-x.first)*lazymig.PageSize, uint64(x.end() - p)
		}
	}
	panic(fmt.Sprintf("page %d is outside the layout", p))
}

// page returns the page at an address of the VMM.
func (s spans) page(address uint64) (lazymig.PageNumber, bool) {
	for _, x := range s {
		if address >= x.start && (address-x.start)/lazymig.PageSize < x.pages {
			return x.first + lazymig.PageNumber((address-x.start)/lazymig.PageSize), true
		}
	}
	return 0, false
}

// huge returns the huge page that p is a part of; ok says that there is one.
func (s spans) huge(p lazymig.PageNumber) (whole lazymig.Run, ok bool) {
	for _, x := range s {
		if x.huge && p >= x.first && p < x.end() {
			return lazymig.Run{First: p - (p-x.first)%hugeParts, Count: hugeParts}, true
		}
	}
	return lazymig.Run{First: p, Count: 1}, false
}

// hasHuge reports whether any of the memory is in huge pages.
func (s spans) hasHuge() bool { return slices.ContainsFunc(s, func(x span) bool { return x.huge }) }

// each calls visit for every page of the byte range that belongs to the guest.
func (s spans) each(start, length uint64, visit func(lazymig.PageNumber)) {
	for _, x := range s {
		from := max(start&^(lazymig.PageSize-1), x.start)
		to := min(start+length, x.start+x.pages*lazymig.PageSize)
		for a := from; a < to; a += lazymig.PageSize {
			visit(x.first + lazymig.PageNumber((a-x.start)/lazymig.PageSize))
		}
	}
}

// sorted returns the spans in the order of their pages.
func (s spans) sorted() spans {
	return slices.SortedFunc(slices.Values(s), func(a, b span) int { return cmp.Compare(a.first, b.first) })
}
