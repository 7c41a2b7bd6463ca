package wire

import (
	"time"

	"github.com/lazymig/lazymig"
)

// HotSet tells the destination which pages the guest is likely to touch first.
// It is a hint.
type HotSet struct {
	// Pages are 1 to MaxHotPages pages, the first needed first.
	Pages []lazymig.HotPage
}

// Length returns the bytes that Append adds.
func (f HotSet) Length() int { return headerSize + runsFixed + hotPageSize*len(f.Pages) }

// Append appends the frame with its header to b.
func (f HotSet) Append(b []byte) []byte {
	b = appendHeader(b, TypeHotSet, f.Length()-headerSize)
	b = appendU32(appendU32(b, uint32(len(f.Pages))), 0)
	for _, p := range f.Pages {
		b = appendU64(appendU64(b, uint64(p.Page)), uint64(p.Epoch))
		b = appendU64(b, uint64(p.After.Microseconds()))
	}
	return b
}

// ParseHotSet parses a payload; errors wrap ErrMalformed.
func ParseHotSet(payload []byte) (HotSet, error) {
	d := decoder{rest: payload}
	n := d.u32()
	d.zero(4)
	if d.fault == "" && (n == 0 || n > MaxHotPages) {
		d.fail("it has %d pages", n)
	}
	f := HotSet{Pages: make([]lazymig.HotPage, 0, min(n, MaxHotPages))}
	for range n {
		p := lazymig.HotPage{Page: lazymig.PageNumber(d.u64()), Epoch: d.epoch()}
		after := int64(d.u64())
		if d.fault == "" && (p.Page >= maxPageNumber || after < -maxHotAfter || after > maxHotAfter) {
			d.fail("page %d at %d µs is no hot page", p.Page, after)
		}
		if d.fault != "" {
			break
		}
		p.After = time.Duration(after) * time.Microsecond
		f.Pages = append(f.Pages, p)
	}
	if err := d.finish(TypeHotSet); err != nil {
		return HotSet{}, err
	}
	return f, nil
}
