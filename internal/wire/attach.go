package wire

// Attach is the first frame of a client that reads a memory, on the control
// stream.
type Attach struct {
	// Memory is the identity that an earlier MEMORY told, or zero for whatever
	// the server has.
	Memory [16]byte
}

// Length returns the bytes that Append adds.
func (Attach) Length() int { return headerSize + attachSize }

// Append appends the frame with its header to b.
func (f Attach) Append(b []byte) []byte {
	return append(appendHeader(b, TypeAttach, attachSize), f.Memory[:]...)
}

// ParseAttach parses a payload; errors wrap ErrMalformed.
func ParseAttach(payload []byte) (Attach, error) {
	d := decoder{rest: payload}
	var f Attach
	copy(f.Memory[:], d.take(len(f.Memory)))
	return f, d.finish(TypeAttach)
}
