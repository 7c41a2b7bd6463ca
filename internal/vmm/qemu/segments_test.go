package qemu

import (
	"errors"
	"slices"
	"testing"

	"github.com/lazymig/lazymig"
)

const mib = 1 << 20

// pieces answers as a guest with these segments does, and counts the questions.
func pieces(list []segment, asked *int) pageAt {
	return func(address uint64) (lazymig.PageNumber, bool, error) {
		*asked++
		p, ok := pageIn(list, address/lazymig.PageSize)
		return p, ok, nil
	}
}

func TestFindSegments(t *testing.T) {
	pages := func(bytes uint64) lazymig.PageNumber { return lazymig.PageNumber(bytes / lazymig.PageSize) }
	for name, list := range map[string][]segment{
		"1 MiB":          {{0, mib, 0}},
		"1 GiB":          {{0, 1024 * mib, 0}},
		"above 4 GiB":    {{0, 2048 * mib, 0}, {above4G, above4G + 62*1024*mib, pages(2048 * mib)}},
		"two backends":   {{0, 512 * mib, pages(512 * mib)}, {512 * mib, 1024 * mib, 0}},
		"odd sizes":      {{0, 3071 * mib, 0}, {above4G, above4G + 5*mib, pages(3071 * mib)}},
		"nothing at all": nil,
	} {
		var size uint64
		for _, s := range list {
			size += s.to - s.from
		}
		asked := 0
		got, err := findSegments(size, pieces(list, &asked))
		if err != nil || !slices.Equal(got, list) {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, list)
		}
		if asked > 40 {
			t.Errorf("%s: %d questions", name, asked)
		}
	}
}

// TestMissingSegments ends when there is less RAM than there should be, and when
// each piece is small.
func TestMissingSegments(t *testing.T) {
	asked := 0
	list := []segment{{0, 16 * mib, 0}}
	if got, err := findSegments(1<<40, pieces(list, &asked)); err != nil || !slices.Equal(got, list) {
		t.Errorf("%+v, %v", got, err)
	}
	scattered := func(address uint64) (lazymig.PageNumber, bool, error) {
		return lazymig.PageNumber(address % 7919), true, nil
	}
	if got, err := findSegments(1<<46, scattered); err != nil || len(got) > maxSegments {
		t.Errorf("%d segments, %v", len(got), err)
	}
	broken := errors.New("broken")
	if _, err := findSegments(1<<30, func(uint64) (lazymig.PageNumber, bool, error) { return 0, false, broken }); !errors.Is(err, broken) {
		t.Errorf("%v, want %v", err, broken)
	}
}

func TestPageIn(t *testing.T) {
	list := []segment{{0, 2 * mib, 100}, {above4G, above4G + mib, 700}}
	for number, want := range map[uint64]int64{0: 100, 511: 611, 512: -1, above4G / 4096: 700, above4G/4096 + 256: -1, 1 << 40: -1, 1<<52 + 1: -1} {
		p, ok := pageIn(list, number)
		if ok != (want >= 0) || ok && p != lazymig.PageNumber(want) {
			t.Errorf("frame %#x: %d, %v; want %d", number, p, ok, want)
		}
	}
}
