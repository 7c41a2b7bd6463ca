package wire

import "github.com/lazymig/lazymig"

// Ahead is the first frame of the destination on the first bulk stream of each
// link. It asks for the pages that the guest is likely to touch first. They are
// sent before anything else on that stream: the urgent ones at the freeze, the
// others behind the commit.
type Ahead struct {
	// Runs are at most MaxHotPages runs of at most MaxHotPages pages together;
	// none if nothing is wanted.
	Runs []lazymig.Run
	// Urgent is how many of the first runs are needed before the guest runs.
	Urgent int
}

// Length returns the bytes that Append adds.
func (f Ahead) Length() int { return headerSize + runsFixed + runSize*len(f.Runs) }

// Append appends the frame with its header to b.
func (f Ahead) Append(b []byte) []byte {
	b = appendHeader(b, TypeAhead, f.Length()-headerSize)
	return appendRuns(appendU32(appendU32(b, uint32(len(f.Runs))), uint32(f.Urgent)), f.Runs)
}

// ParseAhead parses a payload; errors wrap ErrMalformed.
func ParseAhead(payload []byte) (Ahead, error) {
	d := decoder{rest: payload}
	n := d.u32()
	urgent := d.u32()
	left := uint64(MaxHotPages)
	if d.fault == "" && (uint64(n) > left || urgent > n) {
		d.fail("it has %d runs, %d of them urgent", n, urgent)
	}
	f := Ahead{Urgent: int(urgent)}
	for range n {
		r := d.run(left)
		if d.fault != "" {
			break
		}
		left -= r.Count
		f.Runs = append(f.Runs, r)
	}
	if err := d.finish(TypeAhead); err != nil {
		return Ahead{}, err
	}
	return f, nil
}
