package wire

import (
	"fmt"
	"math/bits"

	"github.com/lazymig/lazymig"
)

// Kind says what a Pages frame has about one page.
type Kind uint8

// The kinds of pages.
const (
	// KindZero is a page of zeros; nothing else follows.
	KindZero Kind = 0
	// KindData is a page with a digest and PageSize bytes.
	KindData Kind = 1
	// KindPoison is a page that the source's hardware has lost.
	KindPoison Kind = 2
	// KindRef is a page that the destination is likely to have: a digest
	// follows, but no data.
	KindRef Kind = 3
	// KindElsewhere is a page that has gone as an answer on the demand stream of
	// the same link; nothing else follows.
	KindElsewhere Kind = 4
)

// String returns the kind as errors name it.
func (k Kind) String() string {
	switch k {
	case KindZero:
		return "zero"
	case KindData:
		return "data"
	case KindPoison:
		return "poison"
	case KindRef:
		return "reference"
	case KindElsewhere:
		return "elsewhere"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Encoding says what the data of a Pages frame is.
type Encoding uint8

// The encodings.
const (
	// EncodingRaw is the pages themselves.
	EncodingRaw Encoding = 0
	// EncodingS2 is all data pages together as one block of S2.
	EncodingS2 Encoding = 1
	// EncodingZstd is all data pages together as one frame of Zstandard that
	// tells its content size.
	EncodingZstd Encoding = 2
)

// String returns the encoding as errors and tests name it.
func (e Encoding) String() string {
	switch e {
	case EncodingRaw:
		return "raw"
	case EncodingS2:
		return "s2"
	case EncodingZstd:
		return "zstd"
	}
	return fmt.Sprintf("encoding %d", uint8(e))
}

// Pages has 1 to MaxPages consecutive pages, source to destination. It is a
// view: parsing copies and allocates nothing, and the value is good as long as
// the payload is. PagesBuilder makes such frames.
type Pages struct {
	// First is the number of page 0 of the frame.
	First lazymig.PageNumber

	encoding             Encoding
	kinds, digests, data []byte
	packed               []byte // data, if it is encoded
	mask                 uint64 // bit i is set if page i is KindData
	refs                 uint64 // bit i is set if page i is KindRef
}

// Count returns the number of pages.
func (f *Pages) Count() int { return len(f.kinds) }

// DataCount returns the number of pages of KindData.
func (f *Pages) DataCount() int { return bits.OnesCount64(f.mask) }

// Kind returns the kind of page i, 0 <= i < Count.
func (f *Pages) Kind(i int) Kind { return Kind(f.kinds[i]) }

// slot returns the number of data pages before page i.
func (f *Pages) slot(i int) int { return bits.OnesCount64(f.mask & (1<<i - 1)) }

// Digest returns the 32 bytes of the digest of page i, or nil unless it is
// KindData or KindRef.
func (f *Pages) Digest(i int) []byte {
	named := f.mask | f.refs
	if named>>i&1 == 0 {
		return nil
	}
	at := bits.OnesCount64(named&(1<<i-1)) * digestSize
	return f.digests[at : at+digestSize : at+digestSize]
}

// Data returns the PageSize bytes of page i, or nil unless it is KindData.
func (f *Pages) Data(i int) []byte {
	if f.mask>>i&1 == 0 {
		return nil
	}
	return f.DataRun(i, 1)
}

// DataRun returns the bytes of the pages i to i+n-1, which must all be
// KindData: they lie side by side and can be installed at once.
func (f *Pages) DataRun(i, n int) []byte {
	at := f.slot(i) * lazymig.PageSize
	end := at + n*lazymig.PageSize
	return f.data[at:end:end]
}

// RunLength returns how many pages from page i on have the kind of page i.
func (f *Pages) RunLength(i int) int {
	n := 1
	for i+n < len(f.kinds) && f.kinds[i+n] == f.kinds[i] {
		n++
	}
	return n
}

// Encoding returns how the data is encoded. Unless it is raw, SetData has to
// come before Data and DataRun.
func (f *Pages) Encoding() Encoding { return f.encoding }

// Packed returns the encoded data; nil if it is raw.
func (f *Pages) Packed() []byte { return f.packed }

// SetData gives the frame its decoded data: DataCount pages.
func (f *Pages) SetData(data []byte) { f.data = data }

// onWire returns the data as it is sent.
func (f *Pages) onWire() []byte {
	if f.encoding == EncodingRaw {
		return f.data
	}
	return f.packed
}

// Length returns the bytes that Append adds.
func (f *Pages) Length() int {
	return headerSize + pagesFixed + len(f.kinds) + len(f.digests) + len(f.onWire())
}

// Append appends the frame with its header to b.
func (f *Pages) Append(b []byte) []byte {
	b = appendPagesHead(b, f.First, f.encoding, f.kinds, len(f.digests), len(f.onWire()))
	b = append(b, f.digests...)
	return append(b, f.onWire()...)
}

// appendPagesHead appends all that stands before the digests.
func appendPagesHead(b []byte, first lazymig.PageNumber, e Encoding, kinds []byte, digests, data int) []byte {
	b = appendHeader(b, TypePages, pagesFixed+len(kinds)+digests+data)
	b = appendU64(b, uint64(first))
	b = appendU16(b, uint16(len(kinds)))
	b = append(b, byte(e), 0)
	return append(b, kinds...)
}

// ParsePages parses a payload; errors wrap ErrMalformed. Only structure is
// checked: which pages were asked for, and whether digests are right, is the
// caller's to find out.
func ParsePages(payload []byte) (Pages, error) {
	d := decoder{rest: payload}
	f := Pages{First: lazymig.PageNumber(d.u64())}
	n := int(d.u16())
	if f.encoding = Encoding(d.u8()); f.encoding > EncodingZstd {
		d.fail("encoding %d is unknown", f.encoding)
	}
	d.zero(1)
	if d.fault == "" && (n == 0 || n > MaxPages) {
		d.fail("it has %d pages", n)
	}
	if d.fault == "" && (f.First >= maxPageNumber || uint64(n) > uint64(maxPageNumber-f.First)) {
		d.fail("no guest has page %d", f.First)
	}
	f.kinds = d.take(n)
	for i, k := range f.kinds {
		switch Kind(k) {
		case KindData:
			f.mask |= 1 << i
		case KindRef:
			f.refs |= 1 << i
		case KindZero, KindPoison, KindElsewhere:
		default:
			d.fail("%s of page %d is unknown", Kind(k), i)
		}
	}
	f.digests = d.take(bits.OnesCount64(f.mask|f.refs) * digestSize)
	size := f.DataCount() * lazymig.PageSize
	switch {
	case f.encoding == EncodingRaw:
		f.data = d.take(size)
	case d.fault == "" && (len(d.rest) == 0 || len(d.rest) >= size):
		d.fail("%d bytes are packed as %d", size, len(d.rest))
	default:
		f.packed = d.take(len(d.rest))
	}
	if err := d.finish(TypePages); err != nil {
		return Pages{}, err
	}
	return f, nil
}
