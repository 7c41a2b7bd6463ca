package migrate

import (
	"bytes"
	"fmt"
	"iter"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/internal/wire"
	"github.com/lazymig/lazymig/pagecache"
	"github.com/lazymig/lazymig/quictransport"
)

// memory is a guest memory whose pages can be broken. Holes are regions of
// zeros that Extents does not name.
type memory struct {
	bytes   []byte
	broken  map[uint64]bool
	extents [][2]uint64
}

func (m *memory) ReadAt(p []byte, _ int, offset uint64) (int, error) {
	for a := offset; a < offset+uint64(len(p)); a += lazymig.PageSize {
		if m.broken[a/lazymig.PageSize] {
			return 0, fmt.Errorf("read page: %w", unix.EIO)
		}
	}
	return copy(p, m.bytes[offset:]), nil
}

func (m *memory) Extents(int) iter.Seq2[uint64, uint64] {
	return func(yield func(offset, length uint64) bool) {
		for _, e := range m.extents {
			if !yield(e[0], e[1]) {
				return
			}
		}
	}
}

func testLayout(pages uint64) lazymig.Layout {
	return lazymig.Layout{{Name: "ram0", Size: pages * lazymig.PageSize}}
}

func testServer(t *testing.T, m *memory, layout lazymig.Layout) *pageServer {
	t.Helper()
	lost, err := openPoisonList(filepath.Join(t.TempDir(), poisonedFile), layout)
	if err != nil {
		t.Fatal(err)
	}
	return newPageServer(layout, m, lost, pagecache.Key{1}, 0)
}

// TestAnswerKinds reads data, zeros, a broken page and a page that was lost on
// an earlier host in one request.
func TestAnswerKinds(t *testing.T) {
	layout := testLayout(8)
	m := &memory{bytes: make([]byte, 8*lazymig.PageSize), broken: map[uint64]bool{3: true}}
	for _, p := range []int{1, 2, 3, 5, 7} {
		m.bytes[p*lazymig.PageSize+9] = byte(p)
	}
	s := testServer(t, m, layout)
	if err := s.lost.add(6); err != nil {
		t.Fatal(err)
	}
	a, err := s.newAnswerer(quictransport.Stream{}, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := a.read(lazymig.Run{Count: 8}); n != 8 || err != nil {
		t.Fatal(n, err)
	}
	_, payload, err := wire.ReadFrame(bytes.NewReader(a.builder.Frame()), nil)
	if err != nil {
		t.Fatal(err)
	}
	pages, err := wire.ParsePages(payload)
	if err != nil {
		t.Fatal(err)
	}
	const z, d, x = wire.KindZero, wire.KindData, wire.KindPoison
	hasher, _ := pagecache.NewHasher(pagecache.Key{1})
	for i, want := range []wire.Kind{z, d, d, x, z, d, x, d} {
		if pages.Kind(i) != want {
			t.Errorf("page %d is %v, want %v", i, pages.Kind(i), want)
		}
		if want == d && (!bytes.Equal(pages.Data(i), m.bytes[i*lazymig.PageSize:][:lazymig.PageSize]) || !hasher.Verify(pages.Data(i), pages.Digest(i))) {
			t.Errorf("page %d has other bytes than the guest", i)
		}
	}
}

// TestAnswersAreShort reads memory of all kinds of pages, mixed at random: no
// frame is longer than the wire allows, and together they have each page once.
func TestAnswersAreShort(t *testing.T) {
	const pages = 1000
	random := rand.New(rand.NewPCG(1, 2))
	m := &memory{bytes: make([]byte, pages*lazymig.PageSize), broken: map[uint64]bool{500: true}}
	for p := range pages {
		if random.IntN(p/100+1) > 0 {
			m.bytes[p*lazymig.PageSize] = 1
		}
	}
	a, err := testServer(t, m, testLayout(pages)).newAnswerer(quictransport.Stream{}, 0, nil)
	fatal(t, err)
	for next := lazymig.PageNumber(0); next < pages; {
		n, err := a.read(lazymig.Run{First: next, Count: uint64(pages - next)})
		fatal(t, err)
		if size := len(a.builder.Frame()); n == 0 || size > wire.MaxAnswer {
			t.Fatalf("%d pages from %d have a frame of %d bytes", n, next, size)
		}
		f, err := a.builder.Pages()
		fatal(t, err)
		for i := range n {
			p := uint64(next) + uint64(i)
			if isData := m.bytes[p*lazymig.PageSize] == 1 && p != 500; isData != (f.Kind(i) == wire.KindData) {
				t.Fatalf("page %d is %v", p, f.Kind(i))
			}
		}
		if next += lazymig.PageNumber(n); f.DataCount() < answerPages && n < wire.MaxPages && next < pages {
			t.Errorf("a frame of %d pages, %d of them data, was not filled", n, f.DataCount())
		}
	}
	const most = 8 + 12 + answerPages*lazymig.PageSize + wire.MaxPages*(1+pagecache.DigestSize)
	if most > wire.MaxAnswer {
		t.Errorf("a frame can have %d bytes", most)
	}
}

// TestHoles checks that holes are the complement of the extents, less what was
// lost: such a page is a hole of the file and must never be taken for zeros.
func TestHoles(t *testing.T) {
	layout := testLayout(100)
	const p = lazymig.PageSize
	m := &memory{extents: [][2]uint64{{10 * p, 5 * p}, {15 * p, 1 * p}, {90 * p, 10 * p}}}
	s := testServer(t, m, layout)
	for _, lost := range []lazymig.PageNumber{0, 20, 21, 89, 95} {
		if err := s.lost.add(lost); err != nil {
			t.Fatal(err)
		}
	}
	var got []lazymig.Run
	if err := s.holes(0, func(r lazymig.Run) error { got = append(got, r); return nil }); err != nil {
		t.Fatal(err)
	}
	want := []lazymig.Run{{First: 1, Count: 9}, {First: 16, Count: 4}, {First: 22, Count: 67}}
	if !slices.Equal(got, want) {
		t.Errorf("holes %v, want %v", got, want)
	}
}

// TestPoisonListSurvives checks that the list is there after a restart, in a
// layout of another order, and gone after a reset.
func TestPoisonListSurvives(t *testing.T) {
	path := filepath.Join(t.TempDir(), poisonedFile)
	a := lazymig.Layout{{Name: "x", Size: 4 * lazymig.PageSize}, {Name: "y", Size: 4 * lazymig.PageSize}}
	b := lazymig.Layout{a[1], a[0]}
	l, err := openPoisonList(path, a)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []lazymig.PageNumber{1, 6, 6} {
		if err := l.add(p); err != nil {
			t.Fatal(err)
		}
	}
	l, err = openPoisonList(path, b)
	if err != nil {
		t.Fatal(err)
	}
	if len(l.pages) != 2 || !l.has(5) || !l.has(2) {
		t.Errorf("pages %v, want 2 and 5", l.pages)
	}
	if err := l.reset(); err != nil {
		t.Fatal(err)
	}
	if l, err = openPoisonList(path, a); err != nil || len(l.pages) != 0 {
		t.Errorf("after reset: %v %v", l.pages, err)
	}
}

// TestAnswerElsewhere: the background leaves out what somebody has waited for,
// unless it is told not to.
func TestAnswerElsewhere(t *testing.T) {
	m := &memory{bytes: bytes.Repeat([]byte{7}, 8*lazymig.PageSize)}
	s := testServer(t, m, testLayout(8))
	peer := newPeerCache(8)
	demand, err := s.newAnswerer(quictransport.Stream{}, 0, peer)
	if err != nil {
		t.Fatal(err)
	}
	background, err := s.newAnswerer(quictransport.Stream{}, 0, peer)
	if err != nil {
		t.Fatal(err)
	}
	background.isBulk = true
	kinds := func(a *answerer, run lazymig.Run) string {
		t.Helper()
		if _, err := a.read(run); err != nil {
			t.Fatal(err)
		}
		pages, err := a.builder.Pages()
		if err != nil {
			t.Fatal(err)
		}
		text := ""
		for i := range pages.Count() {
			text += pages.Kind(i).String()[:1]
		}
		return text
	}
	if got := kinds(demand, lazymig.Run{First: 2, Count: 2}); got != "dd" {
		t.Errorf("on demand %s", got)
	}
	if got := kinds(background, lazymig.Run{Count: 6}); got != "ddeedd" {
		t.Errorf("in the background %s", got)
	}
	background.isNew = true
	if got := kinds(background, lazymig.Run{Count: 6}); got != "dddddd" {
		t.Errorf("in the background, data only, %s", got)
	}
	if got := kinds(demand, lazymig.Run{First: 2, Count: 2}); got != "dd" {
		t.Errorf("on demand again %s", got)
	}
}
