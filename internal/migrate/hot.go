package migrate

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/internal/wire"
	"github.com/lazymig/lazymig/prefetch"
)

// readHotSet returns the pages that the guest touched first after its last
// switch, or none. They are a hint: what does not fit the guest is left out.
func readHotSet(path string, layout lazymig.Layout) ([]lazymig.HotPage, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var pages []lazymig.HotPage
	if err == nil {
		err = json.Unmarshal(text, &pages)
	}
	if err != nil {
		return nil, fmt.Errorf("read the pages that go ahead: %w", err)
	}
	return fitting(pages, layout), nil
}

// fitting returns the pages that the guest has and the wire takes.
func fitting(pages []lazymig.HotPage, layout lazymig.Layout) []lazymig.HotPage {
	var fit []lazymig.HotPage
	for _, p := range pages[:min(len(pages), wire.MaxHotPages)] {
		if layout.Contains(lazymig.Run{First: p.Page, Count: 1}) && p.After.Abs() < time.Minute {
			fit = append(fit, p)
		}
	}
	return fit
}

// withRings puts the pages of virtio rings before those that are known: they are
// needed before the guest runs.
func withRings(rings []lazymig.PageNumber, epoch lazymig.Epoch, known []lazymig.HotPage) []lazymig.HotPage {
	var all []lazymig.HotPage
	has := map[lazymig.PageNumber]bool{}
	for _, p := range rings[:min(len(rings), maxRingPages)] {
		has[p] = true
		all = append(all, lazymig.HotPage{Page: p, Epoch: epoch, After: -time.Microsecond})
	}
	for _, p := range known {
		if !has[p.Page] {
			all = append(all, p)
		}
	}
	return all[:min(len(all), wire.MaxHotPages)]
}

// withLikely puts the pages that the guest is likely to touch behind those that
// are known. They are of epoch 0: whatever the guest has been seen to wait for
// is worth more.
func withLikely(known []lazymig.HotPage, likely []lazymig.PageNumber) []lazymig.HotPage {
	has := map[lazymig.PageNumber]bool{}
	for _, p := range known {
		has[p.Page] = true
	}
	for _, p := range likely[:min(len(likely), maxLikelyPages)] {
		if !has[p] && len(known) < wire.MaxHotPages {
			has[p] = true
			known = append(known, lazymig.HotPage{Page: p, After: hotTime})
		}
	}
	return known
}

// writeHotSet replaces the file at path. It need not survive a crash of the
// host.
func writeHotSet(path string, pages []lazymig.HotPage) error {
	text, err := json.Marshal(pages)
	if err == nil {
		err = os.WriteFile(path+".new", text, 0o600)
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return fmt.Errorf("keep the pages that go ahead next time: %w", err)
	}
	return nil
}

// hotRuns makes runs of the pages that want says yes to, in their order. Those
// that were touched before the resume are urgent.
func hotRuns(pages []lazymig.HotPage, want func(lazymig.PageNumber) bool) wire.Ahead {
	var ahead wire.Ahead
	for _, p := range pages {
		last := len(ahead.Runs) - 1
		switch {
		case !want(p.Page):
			continue
		case last >= 0 && ahead.Runs[last].End() == p.Page:
			ahead.Runs[last].Count++
		default:
			ahead.Runs = append(ahead.Runs, lazymig.Run{First: p.Page, Count: 1})
		}
		if p.After <= 0 {
			ahead.Urgent = len(ahead.Runs)
		}
	}
	return ahead
}

// keepHotSet writes what goes ahead when the guest moves on, and reports when
// its first faults were, as in has seen it. in has ended.
func (s *session) keepHotSet(in *installer) {
	if in == nil || !s.ownsGuest {
		return
	}
	pages := prefetch.MergeHot(in.hot, in.watch.pages(s.hello.Epoch, in.ran), wire.MaxHotPages)
	if err := writeHotSet(s.path(hotSetFile), pages); err != nil {
		s.message(err.Error())
	}
	s.report.FirstFaultsUS = in.watch.remote(s.report.ResumedAt)
}
