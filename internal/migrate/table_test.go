package migrate

import (
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/lazymig/lazymig"
)

// testTable returns a table of pages pages whose page map is on disk.
func testTable(t *testing.T, pages uint64) *table {
	t.Helper()
	kept, err := createPageMap(filepath.Join(t.TempDir(), "pages"), pages)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := kept.close(true); err != nil {
			t.Error(err)
		}
	})
	return newTable(pages, kept)
}

// TestTableAgainstModel drives the table at random beside a plain map.
func TestTableAgainstModel(t *testing.T) {
	for _, pages := range []uint64{1, 63, 64, 65, 200, 1000} {
		random := rand.New(rand.NewPCG(1, pages))
		tab := testTable(t, pages)
		known := map[lazymig.PageNumber]bool{}
		requested := map[lazymig.PageNumber]bool{}
		for range 2000 {
			p := lazymig.PageNumber(random.Uint64N(pages))
			switch random.IntN(7) {
			case 0:
				tab.markInstalled(p, 1)
				known[p] = true
			case 1:
				tab.markZero(p)
				known[p] = true
			case 2:
				tab.markDiscarded(p)
				known[p] = true
			case 3:
				if random.IntN(20) == 0 {
					tab.markPoisoned(p)
					known[p] = true
				}
			case 4:
				run := lazymig.Run{First: p, Count: 1 + random.Uint64N(min(pages-uint64(p), 150))}
				var fresh uint64
				for q := run.First; q < run.End(); q++ {
					if !known[q] {
						fresh++
					}
					known[q] = true
				}
				if got := tab.markZeroRun(run); got != fresh {
					t.Fatalf("run %+v of %d pages: %d fresh, want %d", run, pages, got, fresh)
				}
			case 5:
				if !known[p] {
					tab.requested.set(p)
					requested[p] = true
				}
			case 6:
				if random.IntN(50) == 0 {
					tab.forgetRequests()
					clear(requested)
				}
			}
			if tab.unknown != pages-uint64(len(known)) {
				t.Fatalf("%d unknown, want %d", tab.unknown, pages-uint64(len(known)))
			}
			checkMissing(t, tab, lazymig.PageNumber(random.Uint64N(pages)), known, requested)
			checkMissingBefore(t, tab, lazymig.PageNumber(random.Uint64N(pages+70)), known, requested)
		}
	}
}

// checkMissing compares the first missing run with the model's first missing
// page.
func checkMissing(t *testing.T, tab *table, from lazymig.PageNumber, known, requested map[lazymig.PageNumber]bool) {
	t.Helper()
	free := func(p lazymig.PageNumber) bool { return !known[p] && !requested[p] }
	want := from
	for want < lazymig.PageNumber(tab.pages) && !free(want) {
		want++
	}
	run, ok := tab.missing(from, lazymig.PageNumber(tab.pages), nil)
	if ok != (want < lazymig.PageNumber(tab.pages)) {
		t.Fatalf("missing from %d: %+v %v, the model says %d", from, run, ok, want)
	}
	if !ok {
		return
	}
	if run.First != want || run.Count == 0 || run.End() > lazymig.PageNumber(tab.pages) {
		t.Fatalf("missing from %d: %+v, the model says %d", from, run, want)
	}
	for p := run.First; p < run.End(); p++ {
		if !free(p) {
			t.Fatalf("page %d in run %+v is not missing", p, run)
		}
	}
}

// checkMissingBefore compares the last missing run before to with the model's
// last missing page.
func checkMissingBefore(t *testing.T, tab *table, to lazymig.PageNumber, known, requested map[lazymig.PageNumber]bool) {
	t.Helper()
	free := func(p int64) bool {
		return uint64(p) < tab.pages && !known[lazymig.PageNumber(p)] && !requested[lazymig.PageNumber(p)]
	}
	want := int64(to) - 1
	for want >= 0 && !free(want) {
		want--
	}
	run, ok := tab.missingBefore(to, nil)
	if ok != (want >= 0) || ok && (int64(run.End())-1 != want || run.Count == 0) {
		t.Fatalf("missing before %d: %+v %v, the model says %d", to, run, ok, want)
	}
	for p := run.First; p < run.End(); p++ {
		if !free(int64(p)) {
			t.Fatalf("page %d in run %+v is not missing", p, run)
		}
	}
}

// TestReadsZero pins which states a fault answers with zeros: never a missing
// or poisoned page.
func TestReadsZero(t *testing.T) {
	tab := testTable(t, 8)
	tab.markInstalled(0, 1)
	tab.markZero(1)
	tab.markDiscarded(2)
	tab.markPoisoned(3)
	for p, want := range []bool{true, true, true, false, false} {
		if got := tab.readsZero(lazymig.PageNumber(p)); got != want {
			t.Errorf("page %d: %v, want %v", p, got, want)
		}
	}
}

// BenchmarkLargeZeroRun keeps the cost of a guest of mostly holes in sight.
func BenchmarkLargeZeroRun(b *testing.B) {
	const pages = 16 << 20 // 64 GiB
	kept, err := createPageMap(filepath.Join(b.TempDir(), "pages"), pages)
	if err != nil {
		b.Fatal(err)
	}
	defer kept.close(true)
	for b.Loop() {
		newTable(pages, kept).markZeroRun(lazymig.Run{Count: pages})
	}
}
