package migrate

import (
	"iter"
	"slices"
	"sync"

	"github.com/lazymig/lazymig"
)

// EventMap is the kind of Event that has a PageMap.
const EventMap = "map"

// PageMap tells where the pages of a guest came from, by cells: cell i of n
// has the pages from i·Pages/n to (i+1)·Pages/n, rounded up. A list has one
// count for each cell, or is left out while all its counts are zero; what is
// in no list is missing still.
type PageMap struct {
	Pages     uint64   `json:"pages"`
	Cells     int      `json:"cells"`
	Zero      []uint64 `json:"zero,omitempty"`
	Demand    []uint64 `json:"demand,omitempty"`
	Bulk      []uint64 `json:"bulk,omitempty"`
	Cache     []uint64 `json:"cache,omitempty"`
	Discarded []uint64 `json:"discarded,omitempty"`
	Poisoned  []uint64 `json:"poisoned,omitempty"`
}

// First returns the first page of cell i; that of cell Cells ends the guest.
func (m *PageMap) First(i int) uint64 { return firstOfCell(m.Pages, uint64(m.Cells), uint64(i)) }

// What cells count beside the origins of pages.
const (
	cellDiscarded = origins + iota
	cellPoisoned
	cellKinds
)

// cells counts the pages of a guest by cell and origin. A nil *cells counts
// nothing. The installer writes, progress reads.
type cells struct {
	pages, count uint64

	mu     sync.Mutex // protects all below; a leaf
	counts [cellKinds][]uint64
}

// newCells returns nil for no cells.
func newCells(count int, pages uint64) *cells {
	if count <= 0 || pages == 0 {
		return nil
	}
	c := &cells{pages: pages, count: min(uint64(count), maxCells, pages)}
	for kind := range c.counts {
		c.counts[kind] = make([]uint64, c.count)
	}
	return c
}

// firstOfCell returns the first page of a cell.
func firstOfCell(pages, count, cell uint64) uint64 { return (cell*pages + count - 1) / count }

// of returns the cell of page p.
func (c *cells) of(p lazymig.PageNumber) uint64 { return uint64(p) * c.count / c.pages }

// parts yields the parts of a run that are in one cell each; without cells, the
// run itself.
func (c *cells) parts(run lazymig.Run) iter.Seq[lazymig.Run] {
	return func(yield func(lazymig.Run) bool) {
		for run.Count > 0 {
			part := run
			if c != nil {
				end := firstOfCell(c.pages, c.count, c.of(run.First)+1)
				part.Count = min(part.Count, end-uint64(run.First))
			}
			if !yield(part) {
				return
			}
			run.First, run.Count = part.End(), run.Count-part.Count
		}
	}
}

// add counts the pages of a run.
func (c *cells) add(kind origin, run lazymig.Run) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for part := range c.parts(run) {
		c.counts[kind][c.of(part.First)] += part.Count
	}
}

// pageMap returns a copy of the counts.
func (c *cells) pageMap() *PageMap {
	c.mu.Lock()
	defer c.mu.Unlock()
	return &PageMap{
		Pages: c.pages, Cells: int(c.count),
		Zero: counted(c.counts[fromZero]), Demand: counted(c.counts[fromDemand]), Bulk: counted(c.counts[fromBulk]), Cache: counted(c.counts[fromCache]),
		Discarded: counted(c.counts[cellDiscarded]), Poisoned: counted(c.counts[cellPoisoned]),
	}
}

// counted returns a copy of a list, or nil if nothing was counted.
func counted(list []uint64) []uint64 {
	for _, n := range list {
		if n > 0 {
			return slices.Clone(list)
		}
	}
	return nil
}
