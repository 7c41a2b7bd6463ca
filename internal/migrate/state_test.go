package migrate

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/lazymig/lazymig"
)

// A large guest: 64 GiB.
const largePages = 64 << 30 / lazymig.PageSize

// TestStatePerPage adds up what the engines keep for each page of a large guest,
// beside the digests of a recipe (the background has none): less than two bytes, and three with --warm at
// the source.
func TestStatePerPage(t *testing.T) {
	kept, err := createPageMap(filepath.Join(t.TempDir(), "pages"), largePages)
	fatal(t, err)
	t.Cleanup(func() { fatal(t, kept.close(true)) })
	table, recipe, warm := newTable(largePages, kept), newRecipe(largePages), newWarmth(largePages)
	destination := len(kept.memory) + len(table.zero) + len(table.requested) + len(table.dataOnly) + len(recipe.has) + 8*len(recipe.blocks)
	source := 2*len(warm.tags) + len(warm.pushed)
	per := func(n int) float64 { return float64(n) / largePages }
	t.Logf("bytes for each page: destination %.3f, source with --warm %.3f, without 0", per(destination), per(source))
	if per(destination) > 2 || per(source) > 3 {
		t.Errorf("bytes for each page: destination %.3f, source %.3f", per(destination), per(source))
	}
}

// TestHolesTakeTurns tells an installer the holes of a large guest: it looks for
// faults in between, and asks for nothing before it knows all.
func TestHolesTakeTurns(t *testing.T) {
	const pages, gap = 3*absentPages + 1000, 7
	in := &installer{table: newTable(pages, &pageMap{installed: newBitmap(pages), discarded: newBitmap(pages)}), counters: newCounters()}
	in.bulk = make(chan *answer, 1)
	home := make(chan *answer, 1)
	a := &answer{home: home, absentLast: true, absent: []lazymig.Run{{Count: 100}, {First: 100 + gap, Count: pages - 100 - gap}}}
	in.bulk <- a
	for turn := range 4 {
		if in.mapped || turn > 0 && in.patience() != 0 {
			t.Fatalf("turn %d: mapped %v", turn, in.mapped)
		}
		before := in.table.unknown
		fatal(t, in.installBulk())
		if done := before - in.table.unknown; done == 0 || done > absentPages {
			t.Errorf("turn %d noted %d pages", turn, done)
		}
	}
	if !in.mapped || in.table.unknown != gap || len(home) != 1 || in.current.answer != nil {
		t.Errorf("mapped %v, %d pages unknown", in.mapped, in.table.unknown)
	}
}

// TestLargeHoles applies the holes of a large guest, also of one with pages that
// are lost: the quickest of some tries, since others use the processors, too.
func TestLargeHoles(t *testing.T) {
	const limit, tries = 100 * time.Millisecond, 5 // 2 and 5 ms on the machine of docs/TESTING.md
	for _, lost := range []int{0, 1000} {
		quickest := time.Hour
		for range tries {
			quickest = min(quickest, applyLargeHoles(t, lost))
		}
		t.Logf("%d pages lost: %v", lost, quickest)
		if quickest > limit && !underRace {
			t.Errorf("%d pages lost: %v, at most %v", lost, quickest, limit)
		}
	}
}

// applyLargeHoles returns how long it takes.
func applyLargeHoles(t *testing.T, lost int) time.Duration {
	t.Helper()
	table := newTable(largePages, &pageMap{installed: newBitmap(largePages), discarded: newBitmap(largePages)})
	for p := range lost {
		table.markPoisoned(lazymig.PageNumber(p) * 100)
	}
	began := time.Now()
	fresh := table.markZeroRun(lazymig.Run{Count: largePages})
	took := time.Since(began)
	if fresh != largePages-uint64(lost) || table.unknown != 0 {
		t.Errorf("%d pages lost: %d are zero, %d unknown", lost, fresh, table.unknown)
	}
	return took
}
