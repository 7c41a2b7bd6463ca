package wire

import "github.com/lazymig/lazymig"

// Absent names pages that are holes in the source's memory after the freeze:
// they read zero and are never asked for.
type Absent struct {
	// Last is set on the last Absent frame of a session.
	Last bool
	// Runs are at most MaxAbsentRuns runs; only the last frame may have none.
	Runs []lazymig.Run
}

// Length returns the bytes that Append adds.
func (f Absent) Length() int { return headerSize + runsFixed + runSize*len(f.Runs) }

// Append appends the frame with its header to b.
func (f Absent) Append(b []byte) []byte {
	b = appendHeader(b, TypeAbsent, f.Length()-headerSize)
	b = append(appendFlag(b, f.Last), 0)
	b = appendU16(b, uint16(len(f.Runs)))
	b = appendU32(b, 0)
	return appendRuns(b, f.Runs)
}

// ParseAbsent parses a payload; errors wrap ErrMalformed.
func ParseAbsent(payload []byte) (Absent, error) {
	d := decoder{rest: payload}
	f := Absent{Last: d.flag()}
	d.zero(1)
	n := int(d.u16())
	d.zero(4)
	if d.fault == "" && (n > MaxAbsentRuns || n == 0 && !f.Last) {
		d.fail("it has %d runs", n)
	}
	if d.fault == "" && len(d.rest) != n*runSize {
		d.fail("%d bytes are not %d runs", len(d.rest), n)
	}
	if d.fault == "" && n > 0 {
		f.Runs = make([]lazymig.Run, 0, n)
	}
	for range n {
		f.Runs = append(f.Runs, d.run(uint64(maxPageNumber)))
		if d.fault != "" {
			break
		}
	}
	if err := d.finish(TypeAbsent); err != nil {
		return Absent{}, err
	}
	return f, nil
}
