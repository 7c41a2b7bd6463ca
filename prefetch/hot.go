package prefetch

import (
	"cmp"
	"slices"

	"github.com/lazymig/lazymig"
)

// MergeHot returns the hot set of the next switch: the pages of known, sent
// ahead this time, and those of seen, which the guest had to wait for. At most
// most pages stay, those seen last; the order is that in which they are needed.
//
// A page that was sent ahead shows no more whether it is touched. It stays until
// newer ones need its place; should it still be hot, the guest waits for it once
// and it is back. This is the recorded working set of REAP (Ustiugov et al.,
// ASPLOS 2021), for guests that live on.
func MergeHot(known, seen []lazymig.HotPage, most int) []lazymig.HotPage {
	all := make(map[lazymig.PageNumber]lazymig.HotPage, len(known)+len(seen))
	for _, list := range [][]lazymig.HotPage{known, seen} {
		for _, p := range list {
			if old, ok := all[p.Page]; !ok || old.Epoch <= p.Epoch {
				all[p.Page] = p
			}
		}
	}
	merged := make([]lazymig.HotPage, 0, len(all))
	for _, p := range all {
		merged = append(merged, p)
	}
	if len(merged) > most {
		slices.SortFunc(merged, newestFirst)
		merged = merged[:most]
	}
	slices.SortFunc(merged, neededFirst)
	return merged
}

func newestFirst(a, b lazymig.HotPage) int {
	return cmp.Or(cmp.Compare(b.Epoch, a.Epoch), neededFirst(a, b))
}

func neededFirst(a, b lazymig.HotPage) int {
	return cmp.Or(cmp.Compare(a.After, b.After), cmp.Compare(a.Page, b.Page))
}
