package wire

// Progress tells the source how far the destination is.
type Progress struct {
	// Pages by origin, and of the whole guest.
	Zero, Demand, Bulk, Cache, Discarded, Poisoned, Total uint64
	// Fault service times in microseconds.
	FaultP50, FaultP99 uint32
}

// Length returns the bytes that Append adds.
func (Progress) Length() int { return headerSize + progressSize }

// Append appends the frame with its header to b.
func (f Progress) Append(b []byte) []byte {
	b = appendHeader(b, TypeProgress, progressSize)
	for _, n := range [...]uint64{f.Zero, f.Demand, f.Bulk, f.Cache, f.Discarded, f.Poisoned, f.Total} {
		b = appendU64(b, n)
	}
	return appendU32(appendU32(b, f.FaultP50), f.FaultP99)
}

// ParseProgress parses a payload; errors wrap ErrMalformed.
func ParseProgress(payload []byte) (Progress, error) {
	d := decoder{rest: payload}
	f := Progress{
		Zero: d.u64(), Demand: d.u64(), Bulk: d.u64(), Cache: d.u64(),
		Discarded: d.u64(), Poisoned: d.u64(), Total: d.u64(),
		FaultP50: d.u32(), FaultP99: d.u32(),
	}
	return f, d.finish(TypeProgress)
}
