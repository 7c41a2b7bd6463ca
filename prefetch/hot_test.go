package prefetch

import (
	"slices"
	"testing"
	"time"

	"github.com/lazymig/lazymig"
)

func hot(page lazymig.PageNumber, epoch lazymig.Epoch, ms int) lazymig.HotPage {
	return lazymig.HotPage{Page: page, Epoch: epoch, After: time.Duration(ms) * time.Millisecond}
}

func TestMergeHot(t *testing.T) {
	tests := map[string]struct {
		known, seen, want []lazymig.HotPage
		most              int
	}{
		"nothing":                {most: 3, want: []lazymig.HotPage{}},
		"needed first":           {seen: []lazymig.HotPage{hot(1, 1, 5), hot(2, 1, -5)}, most: 3, want: []lazymig.HotPage{hot(2, 1, -5), hot(1, 1, 5)}},
		"sent ahead stays":       {known: []lazymig.HotPage{hot(1, 1, 5)}, seen: []lazymig.HotPage{hot(2, 2, 1)}, most: 3, want: []lazymig.HotPage{hot(2, 2, 1), hot(1, 1, 5)}},
		"seen again is younger":  {known: []lazymig.HotPage{hot(1, 1, 5)}, seen: []lazymig.HotPage{hot(1, 2, 1)}, most: 3, want: []lazymig.HotPage{hot(1, 2, 1)}},
		"the oldest go":          {known: []lazymig.HotPage{hot(1, 1, -5), hot(2, 2, 9)}, seen: []lazymig.HotPage{hot(3, 3, 1)}, most: 2, want: []lazymig.HotPage{hot(3, 3, 1), hot(2, 2, 9)}},
		"of one age the late go": {seen: []lazymig.HotPage{hot(1, 1, 3), hot(2, 1, 2), hot(3, 1, 1)}, most: 2, want: []lazymig.HotPage{hot(3, 1, 1), hot(2, 1, 2)}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := MergeHot(tt.known, tt.seen, tt.most); !slices.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

// TestMergeHotKeepsWhatIsHot plays many switches of a guest that always touches
// the same pages and some others by chance: few of the former are missed.
func TestMergeHotKeepsWhatIsHot(t *testing.T) {
	const always, chance, most = 250, 50, 1024
	var list []lazymig.HotPage
	next := lazymig.PageNumber(always)
	var missed int
	for epoch := lazymig.Epoch(1); epoch <= 200; epoch++ {
		ahead := map[lazymig.PageNumber]bool{}
		for _, p := range list {
			ahead[p.Page] = true
		}
		var seen []lazymig.HotPage
		for p := range lazymig.PageNumber(always) {
			if !ahead[p] {
				seen = append(seen, hot(p, epoch, int(p)))
				if epoch > 1 {
					missed++
				}
			}
		}
		for range chance {
			seen = append(seen, hot(next, epoch, 100))
			next++
		}
		list = MergeHot(list, seen, most)
	}
	if rate := float64(missed) / (199 * always); rate > 0.1 {
		t.Errorf("%.0f%% of the hot pages were not sent ahead", 100*rate)
	}
}
