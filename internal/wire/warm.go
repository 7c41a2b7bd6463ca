package wire

import "github.com/lazymig/lazymig"

// Warm has pages for the destination's cache, which are not said to be any
// page's content yet, source to destination, before the freeze. It is a view:
// the value is good as long as the payload is.
type Warm struct {
	// Digests are 32 bytes for each of 1 to MaxPages pages.
	Digests []byte
	// Data are the pages.
	Data []byte
}

// Count returns the number of pages.
func (f Warm) Count() int { return len(f.Digests) / digestSize }

// Length returns the bytes that Append adds.
func (f Warm) Length() int { return headerSize + warmFixed + len(f.Digests) + len(f.Data) }

// Append appends the frame with its header to b.
func (f Warm) Append(b []byte) []byte {
	b = appendHeader(b, TypeWarm, f.Length()-headerSize)
	b = appendU16(b, uint16(f.Count()))
	b = append(b, byte(EncodingRaw), 0, 0, 0, 0, 0)
	return append(append(b, f.Digests...), f.Data...)
}

// ParseWarm parses a payload; errors wrap ErrMalformed.
func ParseWarm(payload []byte) (Warm, error) {
	d := decoder{rest: payload}
	n := int(d.u16())
	if e := Encoding(d.u8()); e != EncodingRaw {
		d.fail("encoding %d is unknown", e)
	}
	d.zero(5)
	if d.fault == "" && (n == 0 || n > MaxPages) {
		d.fail("it has %d pages", n)
	}
	f := Warm{Digests: d.take(n * digestSize), Data: d.take(n * lazymig.PageSize)}
	if err := d.finish(TypeWarm); err != nil {
		return Warm{}, err
	}
	return f, nil
}
