package wire

import "github.com/lazymig/lazymig"

// Complete says that the destination has every page, durably.
type Complete struct {
	Epoch lazymig.Epoch
	// Document is the destination's report, JSON, 1 to MaxDocument bytes. A
	// parsed one aliases the payload.
	Document []byte
}

// Length returns the bytes that Append adds.
func (f Complete) Length() int { return headerSize + 8 + len(f.Document) }

// Append appends the frame with its header to b.
func (f Complete) Append(b []byte) []byte {
	b = appendU64(appendHeader(b, TypeComplete, 8+len(f.Document)), uint64(f.Epoch))
	return append(b, f.Document...)
}

// ParseComplete parses a payload; errors wrap ErrMalformed.
func ParseComplete(payload []byte) (Complete, error) {
	d := decoder{rest: payload}
	f := Complete{Epoch: d.epoch(), Document: d.document()}
	return f, d.finish(TypeComplete)
}

// Released answers Complete: the source keeps nothing of the epoch any more.
type Released struct {
	Epoch lazymig.Epoch
}

// Length returns the bytes that Append adds.
func (Released) Length() int { return headerSize + 8 }

// Append appends the frame with its header to b.
func (f Released) Append(b []byte) []byte { return appendEpoch(b, TypeReleased, f.Epoch) }

// ParseReleased parses a payload; errors wrap ErrMalformed.
func ParseReleased(payload []byte) (Released, error) {
	d := decoder{rest: payload}
	f := Released{Epoch: d.epoch()}
	return f, d.finish(TypeReleased)
}
