package wire

import "github.com/lazymig/lazymig"

// Request asks the source for pages, on a page stream.
type Request struct {
	// DataOnly asks for pages as data even if the source thinks that the
	// destination has them.
	DataOnly bool
	// Runs are 1 to MaxRequestRuns runs of at most MaxRequestPages pages
	// together. The answer has their pages in this order.
	Runs []lazymig.Run
}

// Length returns the bytes that Append adds.
func (f Request) Length() int { return headerSize + runsFixed + runSize*len(f.Runs) }

// Append appends the frame with its header to b.
func (f Request) Append(b []byte) []byte {
	b = appendHeader(b, TypeRequest, f.Length()-headerSize)
	b = append(appendFlag(b, f.DataOnly), 0)
	b = appendU16(b, uint16(len(f.Runs)))
	b = appendU32(b, 0)
	return appendRuns(b, f.Runs)
}

// ParseRequest parses a payload; errors wrap ErrMalformed.
func ParseRequest(payload []byte) (Request, error) { return ParseRequestInto(nil, payload) }

// ParseRequestInto is ParseRequest for loops: the runs are put into the
// memory of runs, and nothing is allocated if its capacity suffices.
func ParseRequestInto(runs []lazymig.Run, payload []byte) (Request, error) {
	d := decoder{rest: payload}
	f := Request{DataOnly: d.flag(), Runs: runs[:0]}
	d.zero(1)
	n := d.u16()
	d.zero(4)
	if d.fault == "" && (n == 0 || n > MaxRequestRuns) {
		d.fail("it has %d runs", n)
	}
	left := uint64(MaxRequestPages)
	for range n {
		r := d.run(left)
		if d.fault != "" {
			break
		}
		left -= r.Count
		f.Runs = append(f.Runs, r)
	}
	if err := d.finish(TypeRequest); err != nil {
		return Request{}, err
	}
	return f, nil
}
