package wire

import "github.com/lazymig/lazymig"

// Ready says that the destination has loaded the device state and serves
// faults.
type Ready struct {
	// Digest is the one of the device state that was loaded.
	Digest [32]byte
}

// Length returns the bytes that Append adds.
func (Ready) Length() int { return headerSize + digestSize }

// Append appends the frame with its header to b.
func (f Ready) Append(b []byte) []byte {
	return append(appendHeader(b, TypeReady, digestSize), f.Digest[:]...)
}

// ParseReady parses a payload; errors wrap ErrMalformed.
func ParseReady(payload []byte) (Ready, error) {
	var f Ready
	d := decoder{rest: payload}
	copy(f.Digest[:], d.take(digestSize))
	return f, d.finish(TypeReady)
}

// Commit gives the guest to the destination. The source has ceded it durably
// before.
type Commit struct {
	Epoch lazymig.Epoch
}

// Length returns the bytes that Append adds.
func (Commit) Length() int { return headerSize + 8 }

// Append appends the frame with its header to b.
func (f Commit) Append(b []byte) []byte { return appendEpoch(b, TypeCommit, f.Epoch) }

// ParseCommit parses a payload; errors wrap ErrMalformed.
func ParseCommit(payload []byte) (Commit, error) {
	d := decoder{rest: payload}
	f := Commit{Epoch: d.epoch()}
	return f, d.finish(TypeCommit)
}

// Resumed says that the destination owns the guest.
type Resumed struct {
	Epoch lazymig.Epoch
	// Ran is false for a guest that arrived paused and stays so.
	Ran bool
	// Pause is the time from COMMIT to RESUME on the destination's clock, in
	// microseconds.
	Pause uint32
}

// Length returns the bytes that Append adds.
func (Resumed) Length() int { return headerSize + 13 }

// Append appends the frame with its header to b.
func (f Resumed) Append(b []byte) []byte {
	b = appendU64(appendHeader(b, TypeResumed, 13), uint64(f.Epoch))
	return appendU32(appendFlag(b, f.Ran), f.Pause)
}

// ParseResumed parses a payload; errors wrap ErrMalformed.
func ParseResumed(payload []byte) (Resumed, error) {
	d := decoder{rest: payload}
	f := Resumed{Epoch: d.epoch(), Ran: d.flag(), Pause: d.u32()}
	return f, d.finish(TypeResumed)
}
