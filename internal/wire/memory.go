package wire

import "github.com/lazymig/lazymig"

// Memory answers an Attach: what the server has.
type Memory struct {
	// Memory identifies the content: the same bytes at every link that was
	// told it. It is not zero.
	Memory [16]byte
	// Bytes is the size, a multiple of PageSize.
	Bytes uint64
}

// Length returns the bytes that Append adds.
func (Memory) Length() int { return headerSize + memorySize }

// Append appends the frame with its header to b.
func (f Memory) Append(b []byte) []byte {
	b = append(appendHeader(b, TypeMemory, memorySize), f.Memory[:]...)
	return appendU64(b, f.Bytes)
}

// ParseMemory parses a payload; errors wrap ErrMalformed.
func ParseMemory(payload []byte) (Memory, error) {
	d := decoder{rest: payload}
	var f Memory
	copy(f.Memory[:], d.take(len(f.Memory)))
	f.Bytes = d.u64()
	if d.fault == "" && f.Memory == [16]byte{} {
		d.fail("the memory has no identity")
	}
	if d.fault == "" && (f.Bytes == 0 || f.Bytes > lazymig.MaxBytes || f.Bytes%lazymig.PageSize != 0) {
		d.fail("no memory has %d bytes", f.Bytes)
	}
	return f, d.finish(TypeMemory)
}
