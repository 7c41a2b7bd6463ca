package migrate

import (
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/internal/wire"
)

// A packer compresses the data of frames as long as that pays:
//
//  1. A byte of data costs what an encoder works for it, at both ends, and the
//     link's time for what is left of it. All of that are averages of what was
//     measured on this stream.
//  2. The next frame goes the cheapest way: as it is, by S2, or by zstd, which
//     saves more and takes four times as long.
//  3. Now and then an encoder is tried that was not the cheapest, since data and
//     links change. One whose work alone is more than all its time is tried
//     rarely.
//
// It belongs to one goroutine.
type packer struct {
	buffer []byte
	zstd   *zstd.Encoder
	wire   average // seconds that the link takes for a byte
	trials [encoderCount]trial
}

// trial is what was measured of one encoder.
type trial struct {
	work   average // seconds that compressing a byte takes
	saved  average // part of a byte that is saved
	used   int     // how often
	frames int     // since then
}

// encoder is one way to compress pages.
type encoder struct {
	encoding wire.Encoding
	// unpacking is what decompressing costs beside compressing. The two run on
	// different hosts, but neither has its processors for itself.
	unpacking float64
	// encode appends the compressed data to out, which has room for it.
	encode func(p *packer, out, data []byte) []byte
}

// encoderCount is how many there are.
const encoderCount = 2

// encoders are all of them; BenchmarkPack measures what they cost.
var encoders = [encoderCount]encoder{
	{wire.EncodingS2, 0.5, (*packer).s2},
	{wire.EncodingZstd, 0.25, (*packer).zstandard},
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

// fall is add for a time in which processors may have done something else, which
// only makes it longer: a shorter one counts at once.
func (a *average) fall(x float64) {
	if x < a.value {
		a.known = false
	}
	a.add(x)
}

// sent notes that the link has taken so many bytes in a time.
func (p *packer) sent(bytes int, took time.Duration) {
	if bytes >= lazymig.PageSize {
		p.wire.add(took.Seconds() / float64(bytes))
	}
}

// work returns what an encoder works for a byte at both ends, in seconds.
func (p *packer) work(i int) float64 {
	return p.trials[i].work.value * (1 + encoders[i].unpacking)
}

// choose returns the encoder for the next frame, or -1 for none.
func (p *packer) choose() int {
	best, least := -1, p.wire.value
	for i := range p.trials {
		t := &p.trials[i]
		t.frames++
		if cost := p.work(i) + p.wire.value*(1-t.saved.value); t.work.known && cost < least {
			best, least = i, cost
		}
	}
	for i := range p.trials {
		if p.isDue(i) {
			return i
		}
	}
	return best
}

// isDue reports whether an encoder is to be tried again: it would be the cheapest
// if it saved everything, or has not been looked at for long. Before the link
// was measured nothing is tried: the first pages are those of the blackout.
func (p *packer) isDue(i int) bool {
	t := &p.trials[i]
	switch {
	case !p.wire.known:
		return false
	case t.used < packTries:
		return true
	case p.work(i) < p.wire.value:
		return t.frames >= packProbe
	default:
		return t.frames >= packSeldom
	}
}

// pack compresses the data of a frame, if that pays and makes it smaller.
func (p *packer) pack(b *wire.PagesBuilder) {
	if len(b.Data()) == 0 {
		return
	}
	if i := p.choose(); i >= 0 {
		p.packBy(i, b)
	}
}

// packBy compresses the data of a frame by one encoder, and learns from it.
func (p *packer) packBy(i int, b *wire.PagesBuilder) {
	if p.buffer == nil {
		p.buffer = make([]byte, s2.MaxEncodedLen(packWindow))
	}
	data, t := b.Data(), &p.trials[i]
	t.used, t.frames = t.used+1, 0
	began := time.Now()
	packed := encoders[i].encode(p, p.buffer[:0], data)
	t.work.fall(time.Since(began).Seconds() / float64(len(data)))
	t.saved.add(max(0, 1-float64(len(packed))/float64(len(data))))
	if len(packed) < len(data)-len(data)/packLeast {
		b.Pack(encoders[i].encoding, packed)
	}
}

func (p *packer) s2(out, data []byte) []byte { return s2.Encode(out[:cap(out)], data) }

// zstandard compresses without the checksum of zstd, since pages have digests.
func (p *packer) zstandard(out, data []byte) []byte {
	if p.zstd == nil {
		p.zstd = newZstdEncoder()
	}
	return p.zstd.EncodeAll(data, out)
}

// newZstdEncoder returns an encoder of one goroutine's, with about 1 MiB.
func newZstdEncoder() *zstd.Encoder {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithWindowSize(packWindow), zstd.WithSingleSegment(true), zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true))
	if err != nil {
		panic("zstd does not take its options: " + err.Error()) // they are constants
	}
	return e
}

// packWindow is all the data of a frame.
const packWindow = wire.MaxPages * lazymig.PageSize
