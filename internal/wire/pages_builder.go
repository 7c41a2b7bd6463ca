package wire

import "github.com/lazymig/lazymig"

// dataOffset is where page data begins in a builder's buffer: behind the
// longest head, on a page boundary.
const dataOffset = lazymig.PageSize

// PagesBuilder makes Pages frames in one buffer that is used again and again.
// Page data is read from the source straight into the buffer, and is never
// moved: kinds and digests are kept aside and put before the data at the end.
//
//	b.Reset(first)
//	n, err := memory.ReadAt(b.Room()[:pages*lazymig.PageSize], …)
//	for each page: b.AddZero() or b.AddPoison() or b.AddData(page, digest)
//	stream.Write(b.Frame())
//
// One goroutine uses it. NewPagesBuilder makes one.
type PagesBuilder struct {
	buf      []byte // dataOffset bytes for the head, MaxPages pages
	first    lazymig.PageNumber
	kinds    []byte
	digests  []byte
	data     int // bytes of data, as they are sent
	encoding Encoding
}

// NewPagesBuilder returns a builder with a buffer of about 260 KiB.
func NewPagesBuilder() *PagesBuilder {
	return &PagesBuilder{
		buf:     make([]byte, dataOffset+MaxPages*lazymig.PageSize),
		kinds:   make([]byte, 0, MaxPages),
		digests: make([]byte, 0, MaxPages*digestSize),
	}
}

// Reset starts a frame whose first page is first. The frame before it is gone.
func (b *PagesBuilder) Reset(first lazymig.PageNumber) {
	b.first, b.kinds, b.digests, b.data, b.encoding = first, b.kinds[:0], b.digests[:0], 0, EncodingRaw
}

// Count returns the number of pages so far; a frame takes MaxPages.
func (b *PagesBuilder) Count() int { return len(b.kinds) }

// DataCount returns how many of them are data.
func (b *PagesBuilder) DataCount() int { return b.data / lazymig.PageSize }

// Next returns the number that the next added page will have.
func (b *PagesBuilder) Next() lazymig.PageNumber {
	return b.first + lazymig.PageNumber(len(b.kinds))
}

func (b *PagesBuilder) dataEnd() int { return dataOffset + b.data }

// Room returns the memory behind the data so far, page-aligned: a whole number
// of pages, at least as many as the frame still takes. Pages that are read
// into its beginning cost no copy in AddData as long as every page before them
// is added as data too.
func (b *PagesBuilder) Room() []byte { return b.buf[b.dataEnd():] }

// AddZero adds a page of zeros.
func (b *PagesBuilder) AddZero() { b.kinds = append(b.kinds, byte(KindZero)) }

// AddPoison adds a page that the source has lost.
func (b *PagesBuilder) AddPoison() { b.kinds = append(b.kinds, byte(KindPoison)) }

// AddData adds a page of PageSize bytes with its digest. page may lie in Room,
// even behind its beginning, where pages that were read before it turned out
// to be zero or poison; then, and if it lies elsewhere, it is copied.
func (b *PagesBuilder) AddData(page []byte, digest *[32]byte) {
	slot := b.buf[b.dataEnd():][:lazymig.PageSize]
	if &slot[0] != &page[0] {
		copy(slot, page)
	}
	b.kinds = append(b.kinds, byte(KindData))
	b.digests = append(b.digests, digest[:]...)
	b.data += lazymig.PageSize
}

// AddRef adds a page that the destination is likely to have.
func (b *PagesBuilder) AddRef(digest *[32]byte) {
	b.kinds = append(b.kinds, byte(KindRef))
	b.digests = append(b.digests, digest[:]...)
}

// AddElsewhere adds a page that goes on the demand stream.
func (b *PagesBuilder) AddElsewhere() { b.kinds = append(b.kinds, byte(KindElsewhere)) }

// Data returns all data pages so far.
func (b *PagesBuilder) Data() []byte { return b.buf[dataOffset:b.dataEnd()] }

// Pack puts encoded data, which is shorter, in the place of Data. No page can be
// added behind it.
func (b *PagesBuilder) Pack(e Encoding, packed []byte) {
	b.encoding, b.data = e, copy(b.Data(), packed)
}

// Frame returns the finished frame with its header. It aliases the buffer and
// is good until the next Reset. At least one page must have been added.
func (b *PagesBuilder) Frame() []byte {
	at := dataOffset - headerSize - pagesFixed - len(b.kinds) - len(b.digests)
	head := appendPagesHead(b.buf[at:at], b.first, b.encoding, b.kinds, len(b.digests), b.data)
	copy(b.buf[at+len(head):dataOffset], b.digests)
	return b.buf[at:b.dataEnd()]
}

// Pages returns the finished frame as its receiver would see it, with the same
// life as Frame: for a reader in the same process.
func (b *PagesBuilder) Pages() (Pages, error) { return ParsePages(b.Frame()[headerSize:]) }
