package wire

import (
	"bytes"
	"testing"

	"github.com/lazymig/lazymig"
)

func page(fill byte) []byte { return bytes.Repeat([]byte{fill}, lazymig.PageSize) }

func TestPagesViews(t *testing.T) {
	f := testPages(KindZero, KindData, KindData, KindPoison, KindPoison, KindData)
	if f.Count() != 6 || f.DataCount() != 3 || f.First != 1<<20 {
		t.Fatalf("%d pages, %d with data, first %d", f.Count(), f.DataCount(), f.First)
	}
	for i, want := range []struct {
		kind Kind
		run  int
	}{{KindZero, 1}, {KindData, 2}, {KindData, 1}, {KindPoison, 2}, {KindPoison, 1}, {KindData, 1}} {
		if f.Kind(i) != want.kind || f.RunLength(i) != want.run {
			t.Errorf("page %d: %s, run of %d", i, f.Kind(i), f.RunLength(i))
		}
		if (f.Data(i) != nil) != (want.kind == KindData) || (f.Digest(i) != nil) != (want.kind == KindData) {
			t.Errorf("page %d: data %v, digest %v", i, f.Data(i) != nil, f.Digest(i) != nil)
		}
		if want.kind != KindData {
			continue
		}
		digest := filled[[32]byte](byte(i))
		if len(f.Data(i)) != lazymig.PageSize || f.Data(i)[0] != byte(i) || !bytes.Equal(f.Digest(i), digest[:]) {
			t.Errorf("page %d has the data or the digest of another", i)
		}
	}
	run := f.DataRun(1, 2)
	if len(run) != 2*lazymig.PageSize || cap(run) != len(run) || &run[lazymig.PageSize] != &f.Data(2)[0] {
		t.Error("a run is not the pages side by side")
	}
}

// TestBuilderReadsInPlace reads eight pages at once, as from a RAM file, and
// finds some of them zero: the frame has the others, in order.
func TestBuilderReadsInPlace(t *testing.T) {
	b := NewPagesBuilder()
	for round := range 2 {
		b.Reset(lazymig.PageNumber(100 * round))
		room := b.Room()
		if len(room) != MaxPages*lazymig.PageSize {
			t.Fatalf("room for %d bytes", len(room))
		}
		for i := range 8 {
			copy(room[i*lazymig.PageSize:], page(byte(i)))
		}
		for i := range 8 {
			got := room[i*lazymig.PageSize:][:lazymig.PageSize]
			if got[0] != byte(i) {
				t.Fatalf("page %d was overwritten before it was added", i)
			}
			digest := filled[[32]byte](byte(10 * i))
			switch {
			case i == 0 || i == 4:
				b.AddZero()
			case i == 5:
				b.AddPoison()
			default:
				b.AddData(got, &digest)
			}
		}
		digest := filled[[32]byte](99)
		b.AddData(page(8), &digest)
		if b.Count() != 9 || b.Next() != lazymig.PageNumber(100*round+9) {
			t.Fatalf("%d pages, next is %d", b.Count(), b.Next())
		}
		checkBuilt(t, b.Frame())
	}
}

func checkBuilt(t *testing.T, frame []byte) {
	t.Helper()
	typ, payload, err := ReadFrame(bytes.NewReader(frame), nil)
	if err != nil || typ != TypePages || len(payload)+headerSize != len(frame) {
		t.Fatalf("%s of %d bytes: %v", typ, len(frame), err)
	}
	f, err := ParsePages(payload)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{-1, 1, 2, 3, -1, -1, 6, 7, 8} {
		if want < 0 {
			if f.Kind(i) == KindData {
				t.Errorf("page %d has data", i)
			}
			continue
		}
		if !bytes.Equal(f.Data(i), page(byte(want))) {
			t.Errorf("page %d has other data", i)
		}
	}
}

func TestBuilderDoesNotCopyWhatIsInPlace(t *testing.T) {
	b := NewPagesBuilder()
	b.Reset(0)
	digest := [32]byte{}
	for i := range MaxPages {
		room := b.Room()
		room[0] = byte(i)
		b.AddData(room[:lazymig.PageSize], &digest)
	}
	if len(b.Room()) != 0 {
		t.Errorf("room for %d bytes in a full frame", len(b.Room()))
	}
	frame := b.Frame()
	f, err := ParsePages(frame[headerSize:])
	if err != nil {
		t.Fatal(err)
	}
	for i := range MaxPages {
		if f.Data(i)[0] != byte(i) {
			t.Fatalf("page %d moved", i)
		}
	}
	if &f.Data(0)[0] != &b.buf[dataOffset] {
		t.Error("the data was moved")
	}
}

func TestHotPathDoesNotAllocate(t *testing.T) {
	b := NewPagesBuilder()
	digest := [32]byte{1}
	build := func() []byte {
		b.Reset(7)
		for range 32 {
			b.AddData(b.Room()[:lazymig.PageSize], &digest)
			b.AddZero()
		}
		return b.Frame()
	}
	b.Reset(7)
	for range 7 {
		b.AddData(b.Room()[:lazymig.PageSize], &digest)
	}
	frame := bytes.Clone(b.Frame())
	request := Request{Runs: []lazymig.Run{{First: 1, Count: 2}, {First: 9, Count: 1}}}.Append(nil)
	var runs []lazymig.Run
	var out, buf []byte
	r := bytes.NewReader(nil)
	for name, f := range map[string]func(){
		"build pages": func() { build() },
		"parse pages": func() {
			f, err := ParsePages(frame[headerSize:])
			if err != nil || f.Digest(2) == nil || f.Data(4) == nil || f.DataRun(5, 2) == nil {
				t.Fatal(err)
			}
		},
		"parse request": func() {
			f, err := ParseRequestInto(runs, request[headerSize:])
			if err != nil {
				t.Fatal(err)
			}
			runs = f.Runs
		},
		"append request": func() { out = Request{Runs: runs}.Append(out[:0]) },
		"append ping":    func() { out = Ping{Token: 1}.Append(out[:0]) },
		"read": func() {
			r.Reset(frame)
			_, payload, err := ReadFrameOf(r, buf, TypePages, TypePong)
			if err != nil {
				t.Fatal(err)
			}
			buf = payload[:0]
		},
	} {
		f()
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
