package migrate

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/internal/wire"
)

// measured returns a packer that has measured these.
func measured(link, s2Work, s2Saved, zstdWork, zstdSaved float64) *packer {
	p := &packer{wire: average{link, true}}
	p.trials[0] = trial{used: packTries, work: average{s2Work, true}, saved: average{s2Saved, true}}
	p.trials[1] = trial{used: packTries, work: average{zstdWork, true}, saved: average{zstdSaved, true}}
	return p
}

// perByte is the time of a byte on a link of so many megabits.
func perByte(megabits float64) float64 { return 8 / (megabits * 1e6) }

// TestPackerChooses gives the packer what this machine measured for programs in
// memory, on links of all rates.
func TestPackerChooses(t *testing.T) {
	const none, isS2, isZstd = -1, 0, 1
	for _, tt := range []struct {
		megabits float64
		saves    [2]float64
		want     int
	}{
		{10, [2]float64{0.55, 0.66}, isZstd},
		{100, [2]float64{0.55, 0.66}, isZstd},
		{1000, [2]float64{0.55, 0.66}, isS2},
		{2500, [2]float64{0.55, 0.66}, isS2},
		{10000, [2]float64{0.55, 0.66}, none},
		{1, [2]float64{0, 0}, none},           // nothing to save
		{100, [2]float64{0.66, 0.67}, isS2},   // hardly more
		{100, [2]float64{0.01, 0.30}, isZstd}, // only entropy
	} {
		p := measured(perByte(tt.megabits), 1.1e-9, tt.saves[0], 4.2e-9, tt.saves[1])
		if got := p.choose(); got != tt.want {
			t.Errorf("%v Mbit/s, saves %v: encoder %d, want %d", tt.megabits, tt.saves, got, tt.want)
		}
	}
}

// TestPackerTriesAgain counts how often an encoder is tried that does not pay:
// often if other data would make it pay, rarely if nothing could.
func TestPackerTriesAgain(t *testing.T) {
	const frames = 10 * packSeldom
	for _, tt := range []struct {
		name     string
		megabits float64
		saved    float64
		s2, zstd int // how often each is used
	}{
		{"no link yet", 0, 0, 0, 0},
		{"noise on a slow link", 100, 0, frames / packProbe, frames / packProbe},
		{"noise on a fast link", 4000, 0, frames / packProbe, frames / packSeldom},
		{"anything on a quicker one", 1e6, 0.5, frames / packSeldom, frames / packSeldom},
	} {
		p := measured(perByte(tt.megabits), 1.1e-9, tt.saved, 4.2e-9, tt.saved)
		p.wire.known = tt.megabits > 0
		var used [encoderCount]int
		for range frames {
			if i := p.choose(); i >= 0 {
				used[i]++
				p.trials[i].frames = 0
			}
		}
		for i, want := range []int{tt.s2, tt.zstd} {
			if used[i] < want*9/10 || used[i] > want {
				t.Errorf("%s: %s was used %d times, want %d", tt.name, encoders[i].encoding, used[i], want)
			}
		}
	}
}

// TestPackerLearns lets a packer find out by itself: it begins with nothing, and
// follows a link whose rate changes.
func TestPackerLearns(t *testing.T) {
	data := readable(16)
	p := &packer{}
	b := wire.NewPagesBuilder()
	last := func(frames int, perByte float64) (counts map[wire.Encoding]int) {
		counts = map[wire.Encoding]int{}
		for i := range frames {
			build(b, data)
			p.pack(b)
			if i >= frames/2 {
				f, _ := b.Pages()
				counts[f.Encoding()]++
			}
			p.sent(len(b.Frame()), time.Duration(perByte*float64(len(b.Frame()))*1e9))
		}
		return counts
	}
	if got := last(100, perByte(0.1)); got[wire.EncodingZstd] < 40 {
		t.Errorf("on a slow link: %v", got)
	}
	if got := last(600, 1e-12); got[wire.EncodingRaw] < 280 {
		t.Errorf("on a link without end: %v", got)
	}
	if got := last(200, perByte(0.1)); got[wire.EncodingZstd] < 80 {
		t.Errorf("on a slow link again: %v", got)
	}
}

// TestPackRoundTrip packs frames of several sizes by each encoder and unpacks
// them, and checks that neither allocates once it has run.
func TestPackRoundTrip(t *testing.T) {
	b := wire.NewPagesBuilder()
	for i := range encoders {
		p, u, a := &packer{}, &unpacker{}, &answer{}
		for _, pages := range []int{1, 2, 7, wire.MaxPages} {
			data := readable(pages)
			once := func() {
				build(b, data)
				p.packBy(i, b)
				a.pages, _ = b.Pages()
				if err := u.unpack(a); err != nil {
					t.Fatal(err)
				}
			}
			once()
			if a.pages.Encoding() != encoders[i].encoding || !bytes.Equal(a.pages.DataRun(0, pages), data) {
				t.Errorf("%d pages as %s came back as others", pages, a.pages.Encoding())
			}
			if n := testing.AllocsPerRun(20, once); n != 0 && !underRace {
				t.Errorf("%d pages as %s: %v allocations", pages, encoders[i].encoding, n)
			}
		}
		u.close()
	}
}

// TestUnpackRejects gives the unpacker data that is not what its frame says.
func TestUnpackRejects(t *testing.T) {
	encoder := newZstdEncoder()
	page := make([]byte, lazymig.PageSize)
	good := encoder.EncodeAll(page, nil)
	stream, _ := zstd.NewWriter(nil, zstd.WithSingleSegment(false))
	for name, tt := range map[string]struct {
		encoding wire.Encoding
		packed   []byte
	}{
		"s2 noise":           {wire.EncodingS2, []byte("not a block")},
		"s2 of two pages":    {wire.EncodingS2, s2.Encode(nil, make([]byte, 2*lazymig.PageSize))},
		"s2 of a gigabyte":   {wire.EncodingS2, binary.AppendUvarint(nil, 1<<30)},
		"s2 cut":             {wire.EncodingS2, s2.Encode(nil, readable(1))[:50]},
		"zstd noise":         {wire.EncodingZstd, []byte("not a frame of zstd")},
		"zstd of two pages":  {wire.EncodingZstd, encoder.EncodeAll(make([]byte, 2*lazymig.PageSize), nil)},
		"zstd of 4095 bytes": {wire.EncodingZstd, encoder.EncodeAll(page[1:], nil)},
		"zstd of 16 MiB":     {wire.EncodingZstd, encoder.EncodeAll(make([]byte, 16<<20), nil)},
		"zstd cut":           {wire.EncodingZstd, good[:len(good)-1]},
		"zstd and more":      {wire.EncodingZstd, append(bytes.Clone(good), good...)},
		"zstd skippable":     {wire.EncodingZstd, append([]byte{0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0}, good...)},
		"zstd of a stream":   {wire.EncodingZstd, stream.EncodeAll(page, nil)},
		"zstd that lies":     {wire.EncodingZstd, lyingFrame(lazymig.PageSize, 40)},
	} {
		if len(tt.packed) >= lazymig.PageSize {
			tt.packed = tt.packed[:lazymig.PageSize-1] // its beginning says how long it is
		}
		u := &unpacker{}
		err := u.unpack(packedAnswer(t, 1, tt.encoding, tt.packed))
		if !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
		u.close()
	}
}

// lyingFrame is a frame of zstd that says it has size bytes, and has blocks of as
// many each.
func lyingFrame(size, blocks int) []byte {
	b := []byte{0x28, 0xb5, 0x2f, 0xfd, 0xa0} // a single segment, its size in 4 bytes
	b = binary.LittleEndian.AppendUint32(b, uint32(size))
	for range blocks {
		head := uint32(size)<<3 | 1<<1 // a repeated byte, not the last block
		b = append(b, byte(head), byte(head>>8), byte(head>>16), 'x')
	}
	return b
}

// TestUnpackIsBounded measures what bombs cost a decoder: no more than the pages
// that their frame announces, twice.
func TestUnpackIsBounded(t *testing.T) {
	const pages = wire.MaxPages
	u := &unpacker{}
	defer u.close()
	warm := packedAnswer(t, pages, wire.EncodingZstd, newZstdEncoder().EncodeAll(make([]byte, pages*lazymig.PageSize), nil))
	if err := u.unpack(warm); err != nil {
		t.Fatal(err)
	}
	for name, bomb := range map[string][]byte{
		"blocks without end": lyingFrame(pages*lazymig.PageSize, 50_000),
		"32 MiB":             newZstdEncoder().EncodeAll(make([]byte, 32<<20), nil),
	} {
		a := packedAnswer(t, pages, wire.EncodingZstd, bomb)
		a.plain = warm.plain
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := u.unpack(a)
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; !errors.Is(err, wire.ErrMalformed) || took > 2*pages*lazymig.PageSize {
			t.Errorf("%s: %v, %d bytes allocated", name, err, took)
		}
	}
}

// FuzzUnpack gives any bytes to the decoders: what they accept is as long as
// the frame says, and lies where it should.
func FuzzUnpack(f *testing.F) {
	b := wire.NewPagesBuilder()
	for i := range encoders {
		build(b, readable(3))
		(&packer{}).packBy(i, b)
		p, _ := b.Pages()
		f.Add(uint8(encoders[i].encoding), uint8(3), p.Packed())
	}
	f.Add(uint8(wire.EncodingZstd), uint8(1), lyingFrame(lazymig.PageSize, 9))
	f.Fuzz(func(t *testing.T, encoding, pages uint8, packed []byte) {
		n := int(pages)%wire.MaxPages + 1
		if len(packed) == 0 || len(packed) >= n*lazymig.PageSize {
			return
		}
		a := packedAnswer(t, n, wire.Encoding(encoding%encoderCount+1), packed)
		u := &unpacker{}
		defer u.close()
		if err := u.unpack(a); err == nil && (len(a.pages.DataRun(0, n)) != n*lazymig.PageSize || &a.pages.DataRun(0, n)[0] != &a.plain[0]) {
			t.Fatal("the data is elsewhere")
		}
	})
}

// BenchmarkPack measures what the encoders cost and save on programs, as a guest
// has them in memory, by pages in a frame.
func BenchmarkPack(b *testing.B) {
	data, err := os.ReadFile("/proc/self/exe")
	fatal(b, err)
	for i := range encoders {
		for _, pages := range []int{7, wire.MaxPages} {
			b.Run(fmt.Sprintf("%s/%d", encoders[i].encoding, pages), func(b *testing.B) { benchmarkPack(b, i, pages, data) })
		}
	}
}

func benchmarkPack(b *testing.B, encoder, pages int, data []byte) {
	builder, p, u, a := wire.NewPagesBuilder(), &packer{}, &unpacker{}, &answer{}
	size := pages * lazymig.PageSize
	var sent int
	var packing, unpacking time.Duration
	for at := 0; b.Loop(); at = (at + size) % (len(data) - size) {
		build(builder, data[at:at+size])
		began := time.Now()
		p.packBy(encoder, builder)
		packing += time.Since(began)
		sent += len(builder.Data())
		a.pages, _ = builder.Pages()
		began = time.Now()
		fatal(b, u.unpack(a))
		unpacking += time.Since(began)
	}
	all := float64(b.N * size)
	b.ReportMetric(float64(packing.Nanoseconds())/all, "pack-ns/B")
	b.ReportMetric(float64(unpacking.Nanoseconds())/all, "unpack-ns/B")
	b.ReportMetric(float64(sent)/all, "left")
}

// readable returns pages that compress like text.
func readable(pages int) []byte {
	random := rand.New(rand.NewPCG(1, uint64(pages)))
	words := []string{"page ", "fault ", "guest ", "host ", "the ", "memory ", "of ", "a "}
	var b []byte
	for len(b) < pages*lazymig.PageSize {
		b = append(b, words[random.IntN(len(words))]...)
	}
	return b[:pages*lazymig.PageSize]
}

// build makes a frame of pages of data.
func build(b *wire.PagesBuilder, data []byte) {
	b.Reset(0)
	copy(b.Room(), data)
	for range len(data) / lazymig.PageSize {
		b.AddData(b.Room()[:lazymig.PageSize], &[32]byte{})
	}
}

// packedAnswer returns an answer whose data somebody has encoded.
func packedAnswer(t testing.TB, pages int, e wire.Encoding, packed []byte) *answer {
	t.Helper()
	b := wire.NewPagesBuilder()
	build(b, make([]byte, pages*lazymig.PageSize))
	b.Pack(e, packed)
	f, err := wire.ParsePages(bytes.Clone(b.Frame()[8:]))
	fatal(t, err)
	return &answer{pages: f}
}
