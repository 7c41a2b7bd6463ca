package wire

// DeviceState is the next piece of the VMM's device state, source to
// destination.
type DeviceState struct {
	// Data has 1 to MaxDeviceChunk bytes. A parsed one aliases the payload.
	Data []byte
}

// Length returns the bytes that Append adds.
func (f DeviceState) Length() int { return headerSize + len(f.Data) }

// Append appends the frame with its header to b.
func (f DeviceState) Append(b []byte) []byte {
	return append(appendHeader(b, TypeDeviceState, len(f.Data)), f.Data...)
}

// ParseDeviceState parses a payload; errors wrap ErrMalformed.
func ParseDeviceState(payload []byte) (DeviceState, error) {
	d := decoder{rest: payload}
	if len(payload) == 0 || len(payload) > MaxDeviceChunk {
		d.fail("it has %d bytes of data", len(payload))
	}
	f := DeviceState{Data: d.take(len(payload))}
	return f, d.finish(TypeDeviceState)
}

// DeviceEnd follows the last DeviceState.
type DeviceEnd struct {
	// Bytes is the length of all pieces together.
	Bytes uint64
	// Digest is the digest of all pieces together.
	Digest [32]byte
}

// Length returns the bytes that Append adds.
func (DeviceEnd) Length() int { return headerSize + 8 + digestSize }

// Append appends the frame with its header to b.
func (f DeviceEnd) Append(b []byte) []byte {
	b = appendU64(appendHeader(b, TypeDeviceEnd, 8+digestSize), f.Bytes)
	return append(b, f.Digest[:]...)
}

// ParseDeviceEnd parses a payload; errors wrap ErrMalformed.
func ParseDeviceEnd(payload []byte) (DeviceEnd, error) {
	d := decoder{rest: payload}
	f := DeviceEnd{Bytes: d.u64()}
	copy(f.Digest[:], d.take(digestSize))
	return f, d.finish(TypeDeviceEnd)
}
