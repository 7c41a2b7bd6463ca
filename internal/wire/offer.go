package wire

// Offer describes the guest, source to destination.
type Offer struct {
	// DryRun asks for the checks only.
	DryRun bool
	// Document is JSON, 1 to MaxDocument bytes. A parsed one aliases the
	// payload.
	Document []byte
}

// Length returns the bytes that Append adds.
func (f Offer) Length() int { return headerSize + 1 + len(f.Document) }

// Append appends the frame with its header to b.
func (f Offer) Append(b []byte) []byte {
	b = appendFlag(appendHeader(b, TypeOffer, 1+len(f.Document)), f.DryRun)
	return append(b, f.Document...)
}

// ParseOffer parses a payload; errors wrap ErrMalformed.
func ParseOffer(payload []byte) (Offer, error) {
	d := decoder{rest: payload}
	f := Offer{DryRun: d.flag(), Document: d.document()}
	return f, d.finish(TypeOffer)
}

// Verdict answers an Offer, destination to source.
type Verdict struct {
	// OK means that the destination is armed (for a dry run: would be).
	OK bool
	// Document is JSON, 1 to MaxDocument bytes: the checks. A parsed one
	// aliases the payload.
	Document []byte
}

// Length returns the bytes that Append adds.
func (f Verdict) Length() int { return headerSize + 1 + len(f.Document) }

// Append appends the frame with its header to b.
func (f Verdict) Append(b []byte) []byte {
	b = appendFlag(appendHeader(b, TypeVerdict, 1+len(f.Document)), f.OK)
	return append(b, f.Document...)
}

// ParseVerdict parses a payload; errors wrap ErrMalformed.
func ParseVerdict(payload []byte) (Verdict, error) {
	d := decoder{rest: payload}
	f := Verdict{OK: d.flag(), Document: d.document()}
	return f, d.finish(TypeVerdict)
}
