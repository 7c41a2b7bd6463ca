package migrate

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lazymig/lazymig"
)

// hugeParts is how many pages a huge page consists of.
const hugeParts = lazymig.HugePageSize / lazymig.PageSize

// hugePages gathers the parts of huge pages. The kernel takes such a page only
// whole, so its parts, pages of 4 KiB as everywhere else, wait in memory of this
// process until all of them are known; what is not data among them is zero. A huge
// page without data that nobody touches stays a hole. A thread that touches one
// has all that is missing of it asked for at once.
type hugePages struct {
	// open has those of which parts have come or were asked for, by their first
	// part; order is that in which the background has opened them.
	open  map[lazymig.PageNumber]*gathering
	order []lazymig.PageNumber
	spare [][]byte
}

// gathering is one huge page.
type gathering struct {
	content []byte
	looked  [hugeParts]bool // parts that the cache was asked for
	asked   time.Time       // when the source was asked on demand; zero after its first answer
	from    origin          // where its data comes from: the slowest of all
}

// useHuge prepares for huge pages, if the guest has any.
func (in *installer) useHuge() {
	if !in.spans.hasHuge() {
		return
	}
	in.spans = in.spans.sorted()
	in.huge = &hugePages{open: map[lazymig.PageNumber]*gathering{}}
	in.table.gathered = newBitmap(in.table.pages)
}

// whole returns the huge page that p is a part of; ok is false for a page of its
// own.
func (in *installer) whole(p lazymig.PageNumber) (lazymig.Run, bool) {
	if in.huge == nil {
		return lazymig.Run{First: p, Count: 1}, false
	}
	return in.spans.huge(p)
}

// waits reports whether a thread waits for p, or for the huge page it is a part of.
func (in *installer) waits(p lazymig.PageNumber) bool {
	if len(in.table.demanded) == 0 {
		return false
	}
	whole, _ := in.whole(p)
	_, waits := in.table.demanded[whole.First]
	return waits
}

// faultHuge answers a thread that touched a huge page.
func (in *installer) faultHuge(whole lazymig.Run) error {
	p := whole.First
	if in.table.isPoisoned(p) {
		return in.poison(p)
	}
	_, waits := in.table.demanded[p]
	if !waits {
		in.wait(p)
	}
	done, err := in.complete(whole)
	if done || err != nil || waits {
		return err
	}
	return in.demandHuge(whole)
}

// demandHuge asks for all that is missing of a huge page, also for what the
// background has asked for, which may take its time.
func (in *installer) demandHuge(whole lazymig.Run) error {
	var run lazymig.Run
	send := func() {
		if run.Count > 0 && in.link != nil {
			in.link.demand(run, in.mustBeData(run))
		}
		run = lazymig.Run{}
	}
	for p := whole.First; p < whole.End(); p++ {
		if in.table.known(p) || in.findPart(p) {
			send()
			continue
		}
		if run.Count == 0 {
			run.First = p
		}
		run.Count++
		in.table.requested.set(p)
	}
	send()
	in.gather(whole).asked = time.Now()
	_, err := in.complete(whole)
	return err
}

// findPart takes a part out of the cache, if that has it in this host's memory. The
// source is asked for any other.
func (in *installer) findPart(p lazymig.PageNumber) bool {
	if !in.recipe.knows(p) {
		return false
	}
	if ok, _ := in.cache.Peek(*in.recipe.digest(p), in.page); !ok {
		in.lack(p)
		return false
	}
	in.addPart(p, in.page, fromCache)
	return true
}

// referPart takes a part out of the cache that the source has sent a reference for.
func (in *installer) referPart(whole lazymig.Run, p lazymig.PageNumber) error {
	if in.findPart(p) {
		_, err := in.complete(whole)
		return err
	}
	if in.waits(p) {
		in.demand(p)
	}
	return nil
}

// gather returns what a huge page is gathered in.
func (in *installer) gather(whole lazymig.Run) *gathering {
	g := in.huge.open[whole.First]
	if g == nil {
		g = &gathering{content: in.huge.takeMemory(), from: fromZero}
		in.huge.open[whole.First] = g
		in.huge.order = append(in.huge.order, whole.First)
	}
	return g
}

func (h *hugePages) takeMemory() []byte {
	last := len(h.spare) - 1
	if last < 0 {
		return make([]byte, lazymig.HugePageSize)
	}
	memory := h.spare[last]
	h.spare = h.spare[:last]
	return memory
}

// drop forgets a huge page that was installed, given back by the guest or lost.
func (in *installer) drop(whole lazymig.Run) {
	for p := whole.First; p < whole.End(); p++ {
		in.table.gathered.clear(p)
	}
	h := in.huge
	g := h.open[whole.First]
	if g == nil {
		return
	}
	delete(h.open, whole.First)
	for i, p := range h.order {
		if p == whole.First {
			h.order = append(h.order[:i], h.order[i+1:]...)
			break
		}
	}
	if len(h.spare) < maxGathered {
		h.spare = append(h.spare, g.content)
	}
}

// addPart keeps the content of a part.
func (in *installer) addPart(p lazymig.PageNumber, content []byte, o origin) {
	whole, _ := in.whole(p)
	g := in.gather(whole)
	copy(g.content[(p-whole.First)*lazymig.PageSize:], content)
	in.table.markGathered(p)
	in.arrived(o, lazymig.Run{First: p, Count: 1})
	if g.from == fromZero || o != fromCache {
		g.from = o
	}
	if o == fromDemand && !g.asked.IsZero() {
		now := time.Now()
		in.window.Demand(now, now.Sub(g.asked))
		g.asked = time.Time{}
	}
}

// addParts keeps the data pages of a from the i-th on that are parts of one huge
// page, and returns how many it dealt with.
func (in *installer) addParts(a *answer, i int, o origin) (int, error) {
	first := a.pages.First + lazymig.PageNumber(i)
	whole, _ := in.whole(first)
	end := min(a.pages.Count(), i+int(whole.End()-first))
	n := i
	for ; n < end && in.copies(a, n); n++ {
		in.addPart(a.pages.First+lazymig.PageNumber(n), a.pages.Data(n), o)
	}
	_, err := in.complete(whole)
	return n - i, err
}

// complete installs a huge page if all of its parts are known, and reports whether
// they are. One that is zero is installed for a thread that waits only.
func (in *installer) complete(whole lazymig.Run) (bool, error) {
	for p := whole.First; p < whole.End(); p++ {
		if !in.table.known(p) {
			return false, nil
		}
	}
	g := in.huge.open[whole.First]
	_, waits := in.table.demanded[whole.First]
	if in.table.isPoisoned(whole.First) || g == nil && !waits {
		return true, nil
	}
	if !waits && !in.table.hasGathered(whole) {
		in.drop(whole)
		return true, nil
	}
	if g == nil {
		g = in.gather(whole)
	}
	return true, in.installHuge(whole, g)
}

// installHuge copies a huge page in.
func (in *installer) installHuge(whole lazymig.Run, g *gathering) error {
	hasData := false
	for i := range hugeParts {
		if in.table.gathered.has(whole.First + lazymig.PageNumber(i)) {
			hasData = true
			continue
		}
		clear(g.content[i*lazymig.PageSize:][:lazymig.PageSize])
	}
	address, _ := in.spans.address(whole.First)
	_, err := in.handle.Copy(address, g.content)
	switch {
	case err == nil:
	case errors.Is(err, unix.EEXIST) && !hasData:
		// A second thread asked before the first answer: the page is there.
		err = in.handle.Wake(address, lazymig.HugePageSize)
	case errors.Is(err, unix.EEXIST):
		err = in.surprise(whole.First)
		in.drop(whole)
		return err
	}
	if err != nil {
		return in.postpone(whole.First, fmt.Errorf("install the huge page at page %d: %w", whole.First, err))
	}
	in.table.markInstalled(whole.First, hugeParts)
	in.drop(whole)
	if _, waits := in.table.demanded[whole.First]; waits {
		in.answered(whole.First, in.counters.histogram(g.from), time.Now())
	}
	return nil
}

// completeAll installs what zeros that were learnt have made whole.
func (in *installer) completeAll() error {
	if in.huge == nil {
		return nil
	}
	for first := range in.huge.open {
		if _, err := in.complete(lazymig.Run{First: first, Count: hugeParts}); err != nil {
			return err
		}
	}
	return nil
}

// losePart notes that the hardware of the source has lost a part. A kernel marks
// only whole huge pages as lost.
func (in *installer) losePart(whole lazymig.Run) error {
	for p := whole.First; p < whole.End(); p++ {
		in.notePoison(p)
	}
	in.drop(whole)
	return in.poison(whole.First)
}
