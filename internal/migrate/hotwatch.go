package migrate

import (
	"time"

	"github.com/lazymig/lazymig"
)

// hotWatch records which pages the guest waits for around the resume and behind
// it. The installer's goroutine owns it until the installer has ended.
type hotWatch struct {
	seen []hotFault
}

type hotFault struct {
	page lazymig.PageNumber
	at   time.Time
	// cached says that this host's cache had the page: nobody was asked.
	cached bool
}

func newHotWatch() hotWatch { return hotWatch{seen: make([]hotFault, 0, maxFirstFaults)} }

// fault notes that somebody waits for page p at now.
func (w *hotWatch) fault(p lazymig.PageNumber, now time.Time, cached bool) {
	if len(w.seen) < cap(w.seen) {
		w.seen = append(w.seen, hotFault{page: p, at: now, cached: cached})
	}
}

// pages returns what was seen until hotTime behind the resume, at the switch
// with the given epoch, whose guest resumed at ran.
func (w *hotWatch) pages(epoch lazymig.Epoch, ran time.Time) []lazymig.HotPage {
	var list []lazymig.HotPage
	for _, f := range w.seen {
		if after := f.at.Sub(ran); after < hotTime && len(list) < maxSeenPages {
			list = append(list, lazymig.HotPage{Page: f.page, Epoch: epoch, After: after.Truncate(time.Microsecond)})
		}
	}
	return list
}

// remote returns when the faults were for which the source was asked, in
// microseconds behind the resume, by the clock that resumed is of.
func (w *hotWatch) remote(resumed time.Time) []int64 {
	var list []int64
	for _, f := range w.seen {
		if !f.cached {
			list = append(list, f.at.Round(0).Sub(resumed).Microseconds())
		}
	}
	return list
}
