package wire

// Filter is a part of the destination's membership filter: what pages it is
// likely to have. The parts come in order, until they have Size bytes together.
// They are the destination's first frames on the recipe stream of each link.
type Filter struct {
	// Size is the length of the whole filter in bytes, at most MaxFilter; the
	// same in all parts. 0, in the only part: the destination has no cache.
	Size uint32
	// Data is 1 to MaxFilterChunk bytes of it; none if Size is 0.
	Data []byte
}

// Length returns the bytes that Append adds.
func (f Filter) Length() int { return headerSize + filterFixed + len(f.Data) }

// Append appends the frame with its header to b.
func (f Filter) Append(b []byte) []byte {
	b = appendHeader(b, TypeFilter, f.Length()-headerSize)
	return append(appendU32(appendU32(b, f.Size), 0), f.Data...)
}

// ParseFilter parses a payload; errors wrap ErrMalformed. Data is a view.
func ParseFilter(payload []byte) (Filter, error) {
	d := decoder{rest: payload}
	f := Filter{Size: d.u32()}
	d.zero(4)
	if n := len(d.rest); d.fault == "" && (f.Size > MaxFilter || n > int(f.Size) || n > MaxFilterChunk || n == 0 && f.Size > 0) {
		d.fail("it has %d bytes of %d", n, f.Size)
	}
	if len(d.rest) > 0 {
		f.Data = d.take(len(d.rest))
	}
	if err := d.finish(TypeFilter); err != nil {
		return Filter{}, err
	}
	return f, nil
}
