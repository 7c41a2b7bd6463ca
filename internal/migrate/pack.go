package migrate

import (
	"fmt"
	"time"

	"github.com/klauspost/compress/s2"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/internal/wire"
)

// A packer compresses the data of frames as long as that pays: when compressing
// a byte takes less time than the link takes for what is saved of it. All three,
// the link's time, that of the compression and what it saves, are averages of
// what was measured. It belongs to one goroutine.
type packer struct {
	buffer []byte
	wire   average // seconds that the link takes for a byte
	work   average // seconds that compressing a byte takes
	saved  average // part of a byte that is saved
	frames int     // since the last one that was tried
}

// average is an exponential moving average of the last packMemory figures or so.
type average struct {
	value float64
	known bool
}

func (a *average) add(x float64) {
	if !a.known {
		a.value, a.known = x, true
		return
	}
	a.value += (x - a.value) / packMemory
}

// sent notes that the link has taken so many bytes in a time.
func (p *packer) sent(bytes int, took time.Duration) {
	if bytes >= lazymig.PageSize {
		p.wire.add(took.Seconds() / float64(bytes))
	}
}

// pays reports whether the next frame is to be compressed. Every packProbe-th
// frame is, to find out whether it would.
func (p *packer) pays() bool {
	p.frames++
	return !p.work.known || p.frames >= packProbe || p.work.value < p.wire.value*p.saved.value
}

// pack compresses the data of a frame, if that pays and makes it smaller.
func (p *packer) pack(b *wire.PagesBuilder) {
	data := b.Data()
	if len(data) == 0 || !p.pays() {
		return
	}
	if p.buffer == nil {
		p.buffer = make([]byte, s2.MaxEncodedLen(wire.MaxPages*lazymig.PageSize))
	}
	p.frames = 0
	began := time.Now()
	packed := s2.Encode(p.buffer, data)
	p.work.add(time.Since(began).Seconds() / float64(len(data)))
	p.saved.add(max(0, 1-float64(len(packed))/float64(len(data))))
	if len(packed) < len(data)-len(data)/packLeast {
		b.Pack(wire.EncodingS2, packed)
	}
}

// unpack gives the pages of an answer their data back.
func (a *answer) unpack() error {
	if a.pages.Encoding() == wire.EncodingRaw {
		return nil
	}
	size := a.pages.DataCount() * lazymig.PageSize
	if n, err := s2.DecodedLen(a.pages.Packed()); err != nil || n != size {
		return fmt.Errorf("%w: pages of %d bytes are packed as %d", wire.ErrMalformed, size, n)
	}
	if a.plain == nil {
		a.plain = make([]byte, wire.MaxPages*lazymig.PageSize)
	}
	data, err := s2.Decode(a.plain, a.pages.Packed())
	if err != nil {
		return fmt.Errorf("%w: unpack pages: %w", wire.ErrMalformed, err)
	}
	a.pages.SetData(data)
	return nil
}
