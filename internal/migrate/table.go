package migrate

import (
	"math/bits"
	"time"

	"github.com/lazymig/lazymig"
)

// table is the destination's page table. Each page is in one state:
//
//	          request               answer DATA, UFFDIO_COPY succeeded
//	missing ──────────▶ requested ─────────────────────────────────────▶ installed
//	   │                   │ │ answer ZERO, or a hole at the source          │
//	   │                   │ └──────────▶ zero ── touched, UFFDIO_ZEROPAGE ──┤
//	   │                   │ answer POISON                                   │
//	   │                   └──────────▶ poisoned                             │
//	   └──────────── the guest gave the page back (REMOVE) ──▶ discarded ◀───┘
//
// The installer's goroutine is the only writer. installed and discarded live
// in the pageMap and outlive the engine. A page is marked installed after the
// kernel confirmed it, never before. A discarded page reads as zeros from then
// on; so does an installed page that the kernel reports as missing, because
// only a discard takes an installed page away.
type table struct {
	pages     uint64
	kept      *pageMap
	zero      bitmap
	requested bitmap
	// gathered has the parts of huge pages that wait for the others; nil if the
	// guest has none.
	gathered bitmap
	// poisoned has the pages that are lost, by groups of 64: pages 64·w to 64·w+63
	// are the bits of poisoned[w].
	poisoned map[uint64]uint64
	// demanded holds the pages that a thread of the guest waits for, with the
	// time of the first fault. The guest's threads bound it.
	demanded map[lazymig.PageNumber]time.Time
	// dataOnly has the pages that this host turned out not to have: the source
	// must send them as data. refs counts the references that came all the same, and
	// how often the source left a page out that did not come.
	dataOnly bitmap
	refs     map[lazymig.PageNumber]int
	// unknown counts the pages that are missing or requested.
	unknown uint64
}

func newTable(pages uint64, kept *pageMap) *table {
	return &table{
		pages: pages, kept: kept, unknown: pages,
		zero: newBitmap(pages), requested: newBitmap(pages),
		poisoned: map[uint64]uint64{},
		demanded: map[lazymig.PageNumber]time.Time{},
		dataOnly: newBitmap(pages), refs: map[lazymig.PageNumber]int{},
	}
}

// known reports whether page p needs no answer of the source any more.
func (t *table) known(p lazymig.PageNumber) bool {
	return t.kept.installed.has(p) || t.zero.has(p) || t.kept.discarded.has(p) || t.gathered != nil && t.gathered.has(p) || t.isPoisoned(p)
}

// settle counts p as known if it was not, before its mark is set.
func (t *table) settle(p lazymig.PageNumber) {
	if !t.known(p) {
		t.unknown--
	}
	t.requested.clear(p)
	t.dataOnly.clear(p)
}

func (t *table) markInstalled(first lazymig.PageNumber, count int) {
	for i := range count {
		p := first + lazymig.PageNumber(i)
		t.settle(p)
		t.kept.installed.set(p)
	}
}

// markGathered marks a part of a huge page that waits for the others.
func (t *table) markGathered(p lazymig.PageNumber) {
	t.settle(p)
	t.gathered.set(p)
}

func (t *table) markZero(p lazymig.PageNumber) {
	t.settle(p)
	t.zero.set(p)
}

// markZeroRun marks the pages of run that are not known yet as zero and
// returns how many these were. It works on 64 pages at a time, because the
// holes of a large guest are millions of pages.
func (t *table) markZeroRun(run lazymig.Run) uint64 {
	var fresh uint64
	for p := uint64(run.First); p < uint64(run.End()); p = (p/64 + 1) * 64 {
		w := p / 64
		mask := ^uint64(0) << (p % 64)
		if left := uint64(run.End()) - w*64; left < 64 {
			mask &= 1<<left - 1
		}
		mask &^= t.kept.installed.word(w) | t.kept.discarded.word(w) | t.zero.word(w) | t.poisonedWord(w) | t.gatheredWord(w)
		t.zero.setWord(w, t.zero.word(w)|mask)
		t.requested.setWord(w, t.requested.word(w)&^mask)
		fresh += uint64(bits.OnesCount64(mask))
	}
	t.unknown -= fresh
	return fresh
}

func (t *table) markDiscarded(p lazymig.PageNumber) {
	t.settle(p)
	t.kept.discarded.set(p)
	if t.gathered != nil {
		t.gathered.clear(p)
	}
}

func (t *table) markPoisoned(p lazymig.PageNumber) {
	t.settle(p)
	t.poisoned[uint64(p/64)] |= 1 << (p % 64)
}

// readsZero reports whether a fault on p is answered with zeros.
func (t *table) readsZero(p lazymig.PageNumber) bool {
	return t.zero.has(p) || t.kept.discarded.has(p) || t.kept.installed.has(p)
}

// mustBeData reports whether the source has to send a page of run as data.
func (t *table) mustBeData(run lazymig.Run) bool {
	for p := run.First; p < run.End(); p++ {
		if t.dataOnly.has(p) {
			return true
		}
	}
	return false
}

// missing returns the first run of pages that are missing and not in without, and
// that begins between from and to-1; it ends with its group of 64 at the latest. It
// is false if there is none. A nil bitmap leaves out nothing.
func (t *table) missing(from, to lazymig.PageNumber, without bitmap) (lazymig.Run, bool) {
	for w := uint64(from) / 64; w < (uint64(to)+63)/64; w++ {
		free := t.missingWord(w)
		if without != nil {
			free &^= without.word(w)
		}
		if w == uint64(from)/64 {
			free &= ^uint64(0) << (uint64(from) % 64)
		}
		if free == 0 {
			continue
		}
		first := bits.TrailingZeros64(free)
		if w*64+uint64(first) >= uint64(to) {
			break
		}
		count := bits.TrailingZeros64(^(free >> first))
		return lazymig.Run{First: lazymig.PageNumber(w*64 + uint64(first)), Count: uint64(min(count, 64-first))}, true
	}
	return lazymig.Run{}, false
}

// missingBefore is missing backwards: the last such run that ends before to.
func (t *table) missingBefore(to lazymig.PageNumber, without bitmap) (lazymig.Run, bool) {
	for w := min(uint64(to)+63, uint64(len(t.zero))*8) / 64; w > 0; {
		w--
		free := t.missingWord(w)
		if without != nil {
			free &^= without.word(w)
		}
		if left := uint64(to) - w*64; left < 64 {
			free &= 1<<left - 1
		}
		if free == 0 {
			continue
		}
		last := 63 - bits.LeadingZeros64(free)
		count := bits.LeadingZeros64(^(free << (63 - last)))
		return lazymig.Run{First: lazymig.PageNumber(w*64 + uint64(last-count+1)), Count: uint64(count)}, true
	}
	return lazymig.Run{}, false
}

// missingWord returns the missing pages among 64·w to 64·w+63.
func (t *table) missingWord(w uint64) uint64 {
	free := ^(t.kept.installed.word(w) | t.kept.discarded.word(w) | t.zero.word(w) | t.requested.word(w))
	if left := t.pages - w*64; left < 64 {
		free &= 1<<left - 1
	}
	return free &^ (t.poisonedWord(w) | t.gatheredWord(w))
}

// hasGathered reports whether a part of a huge page waits for others.
func (t *table) hasGathered(whole lazymig.Run) bool {
	for p := whole.First; p < whole.End(); p++ {
		if t.gathered.has(p) {
			return true
		}
	}
	return false
}

// gatheredWord returns the gathered parts among 64·w to 64·w+63.
func (t *table) gatheredWord(w uint64) uint64 {
	if t.gathered == nil {
		return 0
	}
	return t.gathered.word(w)
}

// poisonedWord returns the poisoned pages among 64·w to 64·w+63.
func (t *table) poisonedWord(w uint64) uint64 { return t.poisoned[w] }

// isPoisoned reports whether page p is lost.
func (t *table) isPoisoned(p lazymig.PageNumber) bool { return t.poisoned[uint64(p/64)]>>(p%64)&1 != 0 }

// forgetRequests makes all requested pages missing again, after a link died.
func (t *table) forgetRequests() { t.requested.reset() }
