package wire

// Ping asks for a Pong with the same token, on any stream.
type Ping struct {
	Token uint64
}

// Length returns the bytes that Append adds.
func (Ping) Length() int { return headerSize + 8 }

// Append appends the frame with its header to b.
func (f Ping) Append(b []byte) []byte { return appendU64(appendHeader(b, TypePing, 8), f.Token) }

// ParsePing parses a payload; errors wrap ErrMalformed.
func ParsePing(payload []byte) (Ping, error) {
	d := decoder{rest: payload}
	f := Ping{Token: d.u64()}
	return f, d.finish(TypePing)
}

// Pong answers a Ping.
type Pong struct {
	Token uint64
}

// Length returns the bytes that Append adds.
func (Pong) Length() int { return headerSize + 8 }

// Append appends the frame with its header to b.
func (f Pong) Append(b []byte) []byte { return appendU64(appendHeader(b, TypePong, 8), f.Token) }

// ParsePong parses a payload; errors wrap ErrMalformed.
func ParsePong(payload []byte) (Pong, error) {
	d := decoder{rest: payload}
	f := Pong{Token: d.u64()}
	return f, d.finish(TypePong)
}
