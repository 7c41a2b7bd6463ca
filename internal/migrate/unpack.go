package migrate

import (
	"errors"
	"fmt"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/internal/wire"
)

// An unpacker gives the pages of answers their data back. What a frame says of
// its pages is how long the data is: nothing is decompressed that claims another
// length, and nothing beyond it. It belongs to one goroutine.
type unpacker struct {
	zstd *zstd.Decoder
}

// unpack decompresses the data of a, if it is compressed.
func (u *unpacker) unpack(a *answer) error {
	size := a.pages.DataCount() * lazymig.PageSize
	decode := u.s2
	switch a.pages.Encoding() {
	case wire.EncodingRaw:
		return nil
	case wire.EncodingS2:
	case wire.EncodingZstd:
		decode = u.zstandard
	}
	if cap(a.plain) < size {
		a.plain = make([]byte, size) // at most packWindow
	}
	data, err := decode(a.plain[:size:size], a.pages.Packed())
	if err != nil {
		return fmt.Errorf("%w: unpack pages: %w", wire.ErrMalformed, err)
	}
	a.pages.SetData(data)
	return nil
}

// close releases the decoder.
func (u *unpacker) close() {
	if u.zstd != nil {
		u.zstd.Close()
	}
}

// s2 decompresses one block to exactly out.
func (u *unpacker) s2(out, packed []byte) ([]byte, error) {
	n, err := s2.DecodedLen(packed)
	if err == nil && n != len(out) {
		err = fmt.Errorf("%d bytes instead of %d", n, len(out))
	}
	if err != nil {
		return nil, err
	}
	return s2.Decode(out, packed)
}

// errZstdHead is that of a frame that is not like those of a packer.
var errZstdHead = errors.New("the head of the zstd frame does not tell the size of its pages")

// zstandard decompresses one frame to exactly out. In a frame of a single
// segment no block is longer than the whole, so one that lies costs one block
// more at the most.
func (u *unpacker) zstandard(out, packed []byte) ([]byte, error) {
	var head zstd.Header
	if err := head.Decode(packed); err != nil {
		return nil, err
	}
	if head.Skippable || !head.SingleSegment || !head.HasFCS || head.FrameContentSize != uint64(len(out)) || head.DictionaryID != 0 {
		return nil, errZstdHead
	}
	if u.zstd == nil {
		u.zstd = newZstdDecoder()
	}
	data, err := u.zstd.DecodeAll(packed, out[:0])
	if err == nil && len(data) != len(out) {
		err = fmt.Errorf("%d bytes instead of %d", len(data), len(out))
	}
	return data, err
}

// newZstdDecoder returns a decoder that takes no more memory than the data of a
// frame, and starts no goroutine.
func newZstdDecoder() *zstd.Decoder {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecodeAllCapLimit(true),
		zstd.WithDecoderMaxMemory(packWindow), zstd.WithDecoderMaxWindow(packWindow))
	if err != nil {
		panic("zstd does not take its options: " + err.Error()) // they are constants
	}
	return d
}
