package wire

import "github.com/lazymig/lazymig"

// Abort ends an epoch before its commit, source to destination: the guest runs
// at the source.
type Abort struct {
	Epoch lazymig.Epoch
	// Reason is for a person, at most MaxText bytes.
	Reason string
}

// Length returns the bytes that Append adds.
func (f Abort) Length() int { return headerSize + 8 + len(CleanText(f.Reason, MaxText)) }

// Append appends the frame with its header to b.
func (f Abort) Append(b []byte) []byte { return appendReason(b, TypeAbort, f.Epoch, f.Reason) }

// ParseAbort parses a payload; errors wrap ErrMalformed.
func ParseAbort(payload []byte) (Abort, error) {
	epoch, reason, err := parseReason(TypeAbort, payload)
	return Abort{Epoch: epoch, Reason: reason}, err
}

// Abandoned says that the destination gave an epoch up before its commit.
type Abandoned struct {
	Epoch lazymig.Epoch
	// Reason is for a person, at most MaxText bytes.
	Reason string
}

// Length returns the bytes that Append adds.
func (f Abandoned) Length() int { return headerSize + 8 + len(CleanText(f.Reason, MaxText)) }

// Append appends the frame with its header to b.
func (f Abandoned) Append(b []byte) []byte { return appendReason(b, TypeAbandoned, f.Epoch, f.Reason) }

// ParseAbandoned parses a payload; errors wrap ErrMalformed.
func ParseAbandoned(payload []byte) (Abandoned, error) {
	epoch, reason, err := parseReason(TypeAbandoned, payload)
	return Abandoned{Epoch: epoch, Reason: reason}, err
}

// Renounced says that the destination will durably never run this epoch,
// whatever the source has decided: the source may take the guest back.
type Renounced struct {
	Epoch lazymig.Epoch
	// Reason is for a person, at most MaxText bytes.
	Reason string
}

// Length returns the bytes that Append adds.
func (f Renounced) Length() int { return headerSize + 8 + len(CleanText(f.Reason, MaxText)) }

// Append appends the frame with its header to b.
func (f Renounced) Append(b []byte) []byte { return appendReason(b, TypeRenounced, f.Epoch, f.Reason) }

// ParseRenounced parses a payload; errors wrap ErrMalformed.
func ParseRenounced(payload []byte) (Renounced, error) {
	epoch, reason, err := parseReason(TypeRenounced, payload)
	return Renounced{Epoch: epoch, Reason: reason}, err
}

func parseReason(t Type, payload []byte) (lazymig.Epoch, string, error) {
	d := decoder{rest: payload}
	epoch := d.epoch()
	reason := d.text(len(d.rest), MaxText)
	return epoch, reason, d.finish(t)
}
