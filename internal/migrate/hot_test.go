package migrate

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/internal/wire"
)

// hotLayout is a guest of 1000 pages.
func hotLayout() lazymig.Layout {
	return lazymig.Layout{{Name: "ram0", Size: 1000 * lazymig.PageSize}}
}

func hotPage(p lazymig.PageNumber, after time.Duration) lazymig.HotPage {
	return lazymig.HotPage{Page: p, Epoch: 1, After: after}
}

func TestHotSetSurvivesItsFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), hotSetFile)
	if got, err := readHotSet(path, hotLayout()); err != nil || got != nil {
		t.Fatalf("without a file: %v, %v", got, err)
	}
	want := []lazymig.HotPage{hotPage(7, -time.Millisecond), hotPage(999, 20*time.Millisecond)}
	for range 2 { // the second replaces the first
		if err := writeHotSet(path, want); err != nil {
			t.Fatal(err)
		}
	}
	got, err := readHotSet(path, hotLayout())
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("read %v, %v, want %v", got, err, want)
	}
}

// TestDamagedHotSet reads files that are no hot set of this guest: what does
// not fit is left out, what is no list is an error, and neither is a page that
// goes over the wire.
func TestDamagedHotSet(t *testing.T) {
	for name, text := range map[string]string{
		"empty": "", "cut": `[{"page":1`, "object": `{}`, "negative page": `[{"page":-1}]`,
	} {
		path := filepath.Join(t.TempDir(), hotSetFile)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := readHotSet(path, hotLayout()); err == nil || len(got) > 0 {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	list := []lazymig.HotPage{hotPage(1000, 0), hotPage(1<<60, 0), hotPage(3, time.Hour), hotPage(4, -time.Hour), hotPage(5, 0)}
	if got := fitting(list, hotLayout()); !slices.Equal(got, list[4:]) {
		t.Errorf("fitting %v, want %v", got, list[4:])
	}
	if got := fitting(make([]lazymig.HotPage, 2*wire.MaxHotPages), hotLayout()); len(got) != wire.MaxHotPages {
		t.Errorf("%d pages fit, want %d", len(got), wire.MaxHotPages)
	}
}

// TestHotRuns asks for what is wanted in the order of need, neighbours in one
// run, and marks as urgent all up to the last page that the load needs.
func TestHotRuns(t *testing.T) {
	pages := []lazymig.HotPage{hotPage(10, -2), hotPage(11, -1), hotPage(500, 0), hotPage(12, 1), hotPage(13, 2), hotPage(20, 3)}
	ahead := hotRuns(pages, func(p lazymig.PageNumber) bool { return p != 13 })
	want := []lazymig.Run{{First: 10, Count: 2}, {First: 500, Count: 1}, {First: 12, Count: 1}, {First: 20, Count: 1}}
	if !slices.Equal(ahead.Runs, want) || ahead.Urgent != 2 {
		t.Errorf("%v, %d urgent; want %v, 2", ahead.Runs, ahead.Urgent, want)
	}
	if none := hotRuns(pages, func(lazymig.PageNumber) bool { return false }); len(none.Runs) > 0 || none.Urgent != 0 {
		t.Errorf("%v, although nothing is wanted", none)
	}
}

// TestHotWatch notes when pages were waited for, and never more than fit. What
// comes late is no hot page; what the cache had is no fault of the network.
func TestHotWatch(t *testing.T) {
	w, ran := newHotWatch(), time.Now()
	w.fault(3, ran.Add(-time.Millisecond), false)
	w.fault(9, ran.Add(time.Millisecond), true)
	w.fault(10, ran.Add(hotTime), false)
	want := []lazymig.HotPage{{Page: 3, Epoch: 6, After: -time.Millisecond}, {Page: 9, Epoch: 6, After: time.Millisecond}}
	if got := w.pages(6, ran); !slices.Equal(got, want) {
		t.Errorf("pages %v, want %v", got, want)
	}
	if got, want := w.remote(ran.Round(0)), []int64{-1000, hotTime.Microseconds()}; !slices.Equal(got, want) {
		t.Errorf("faults of the network %v, want %v", got, want)
	}
	for p := range lazymig.PageNumber(2 * maxFirstFaults) {
		w.fault(p, ran, false)
	}
	if got := len(w.pages(6, ran)); got != maxSeenPages {
		t.Errorf("%d pages noted, want %d", got, maxSeenPages)
	}
	if got := len(w.remote(ran)); got != maxFirstFaults-1 {
		t.Errorf("%d faults kept, want %d", got, maxFirstFaults-1)
	}
}

// TestWithLikely puts guesses behind what is known, and never more than fit.
func TestWithLikely(t *testing.T) {
	known := []lazymig.HotPage{hotPage(3, 0), hotPage(9, 1)}
	got := withLikely(known, []lazymig.PageNumber{9, 20, 20, 1})
	want := append(slices.Clone(known), lazymig.HotPage{Page: 20, After: hotTime}, lazymig.HotPage{Page: 1, After: hotTime})
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	var many []lazymig.PageNumber
	for p := range lazymig.PageNumber(2 * wire.MaxHotPages) {
		many = append(many, p)
	}
	if got := withLikely(nil, many); len(got) != maxLikelyPages {
		t.Errorf("%d guesses, want %d", len(got), maxLikelyPages)
	}
	full := make([]lazymig.HotPage, wire.MaxHotPages-1)
	if got := withLikely(full, many); len(got) != wire.MaxHotPages {
		t.Errorf("%d pages, want %d", len(got), wire.MaxHotPages)
	}
	if ahead := hotRuns(got, func(lazymig.PageNumber) bool { return true }); ahead.Urgent != 1 {
		t.Errorf("%d runs are urgent, want 1: the guesses are not", ahead.Urgent)
	}
}
