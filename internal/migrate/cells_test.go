package migrate

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/lazymig/lazymig"
)

// TestCells checks the counts of cells against a model that has one origin
// for each page.
func TestCells(t *testing.T) {
	for _, c := range []struct {
		pages uint64
		count int
	}{{1, 1}, {10, 3}, {64, 64}, {1000, 7}, {1000, 512}, {5, 100}, {100_000, 2 * maxCells}} {
		random := rand.New(rand.NewPCG(1, c.pages))
		cells := newCells(c.count, c.pages)
		model := make([]origin, c.pages)
		for p := uint64(0); p < c.pages; {
			kind := origin(random.IntN(int(cellKinds)))
			run := lazymig.Run{First: lazymig.PageNumber(p), Count: 1 + random.Uint64N(c.pages-p)}
			cells.add(kind, run)
			for ; p < uint64(run.End()); p++ {
				model[p] = kind
			}
		}
		got := cells.pageMap()
		lists := [cellKinds][]uint64{got.Zero, got.Demand, got.Bulk, got.Cache, got.Discarded, got.Poisoned}
		for i := range got.Cells {
			var want [cellKinds]uint64
			for p := got.First(i); p < got.First(i+1); p++ {
				want[model[p]]++
			}
			for kind, n := range want {
				if list := lists[kind]; list == nil && n > 0 || list != nil && list[i] != n {
					t.Fatalf("%d pages, %d cells: cell %d has %v of kind %d, want %d", c.pages, got.Cells, i, list, kind, n)
				}
			}
		}
		if got.First(got.Cells) != c.pages || got.Cells > min(c.count, maxCells, int(c.pages)) {
			t.Errorf("%d pages, %d cells: %d cells up to page %d", c.pages, c.count, got.Cells, got.First(got.Cells))
		}
	}
}

// TestNoCells checks that counting is off unless somebody asks for it.
func TestNoCells(t *testing.T) {
	cells := newCells(0, 100)
	if cells != nil {
		t.Fatal("cells although there are none")
	}
	run := lazymig.Run{First: 5, Count: 70}
	cells.add(fromBulk, run)
	if parts := slices.Collect(cells.parts(run)); !slices.Equal(parts, []lazymig.Run{run}) {
		t.Errorf("parts without cells: %v", parts)
	}
}

// TestCellsOfHoles tells an installer the holes of the source, of which it
// knows some pages already: the map and the counters must agree.
func TestCellsOfHoles(t *testing.T) {
	const pages = 1000
	in := &installer{table: testTable(t, pages), counters: newCounters(), cells: newCells(9, pages)}
	in.installed(100, 50, fromBulk, false)
	in.installed(500, 1, fromDemand, true)
	if err := in.learnZero(700); err != nil {
		t.Fatal(err)
	}
	holes := &answer{absent: []lazymig.Run{{First: 0, Count: 130}, {First: 400, Count: 550}}, absentLast: true}
	if over, err := in.applyAbsent(holes); err != nil || !over {
		t.Fatal(over, err)
	}
	m, p := in.cells.pageMap(), in.counters.progress(pages)
	if sum(m.Zero) != p.Zero || sum(m.Bulk) != p.Bulk || sum(m.Demand) != p.Demand {
		t.Errorf("the map has %+v, progress %+v", m, p)
	}
	if sum(m.Zero) != 100+549 || sum(m.Bulk) != 50 || sum(m.Demand) != 1 {
		t.Errorf("the map has %+v", m)
	}
	text, err := json.Marshal(Event{Event: EventMap, Map: m})
	if err != nil {
		t.Fatal(err)
	}
	var back Event
	if err := json.Unmarshal(text, &back); err != nil || back.Map == nil || !slices.Equal(back.Map.Zero, m.Zero) || back.Map.Poisoned != nil {
		t.Errorf("%s came back as %+v, %v", text, back.Map, err)
	}
}

func sum(list []uint64) (n uint64) {
	for _, k := range list {
		n += k
	}
	return n
}

// BenchmarkCells measures what the map adds to the installation of one run.
func BenchmarkCells(b *testing.B) {
	cells := newCells(512, 1<<18)
	for b.Loop() {
		cells.add(fromBulk, lazymig.Run{First: 4711, Count: copyRunPages})
	}
}
