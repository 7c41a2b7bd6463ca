package migrate

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/internal/wire"
)

// answer is one verified frame of a page stream. It views a buffer of the
// stream, which release gives back.
type answer struct {
	from   *fetcher
	lane   *lane // that it came on; nil for demand
	buffer []byte
	home   chan *answer
	// pages is valid unless the frame was a list of holes.
	pages wire.Pages
	// plain is for data that was packed.
	plain []byte
	// bad has a bit for each page whose bytes do not have the digest.
	bad uint64
	// absent lists holes at the source.
	absent     []lazymig.Run
	absentLast bool
	// recipe is what the source says that pages are made of; nil for other
	// frames.
	recipe *wire.Recipe
	// local says that the answer is of this host's cache, for lookup, and needs
	// no link.
	local  bool
	lookup *lookup
}

// release gives the answer back.
func (a *answer) release() { a.home <- a }

// installDemands installs all answers that somebody waits for.
func (in *installer) installDemands() error {
	stuck := in.stuck
	in.stuck = nil
	for _, a := range stuck {
		if err := in.installDemand(a); err != nil {
			return err
		}
	}
	for {
		select {
		case a := <-in.demands:
			if err := in.installDemand(a); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

// installDemand installs a demand answer whole, or keeps it for the next turn.
func (in *installer) installDemand(a *answer) error {
	if a.local {
		in.shelf.looked(a)
	} else if a.from != in.link {
		a.release() // of a link that died: the page was asked for again
		return nil
	}
	from := fromDemand
	if a.local {
		from = fromCache
	}
	for i := 0; i < a.pages.Count(); {
		n, err := in.apply(a, i, from)
		if again(err) {
			in.stuck = append(in.stuck, a)
			in.holding = true
			return nil
		}
		if err != nil {
			return err
		}
		i += n
	}
	a.release()
	return nil
}

// installBulk installs the next copy run of the background.
func (in *installer) installBulk() error {
	w := &in.current
	if w.answer == nil {
		select {
		case w.answer = <-in.bulk:
			w.next = 0
			if w.answer.local {
				in.shelf.looked(w.answer)
			}
		default:
			return nil
		}
	}
	if w.answer.from != in.link && !w.answer.local {
		in.dropBulk()
		return nil
	}
	if w.answer.recipe != nil {
		err := in.applyRecipe(w.answer.recipe)
		in.dropBulk()
		return err
	}
	if w.answer.absent != nil || w.answer.absentLast {
		over, err := in.applyAbsent(w.answer)
		if over || err != nil {
			in.dropBulk()
		}
		return err
	}
	from := fromBulk
	if w.answer.local {
		from = fromCache
	}
	n, err := in.apply(w.answer, w.next, from)
	if again(err) {
		in.holding = true
		return nil
	}
	if err != nil {
		return err
	}
	if w.next += n; w.next == w.answer.pages.Count() {
		if l := w.answer.lane; l != nil {
			l.pages -= min(uint64(w.next), l.pages) // some came without having been asked for on it
			in.window.Done(time.Now(), uint64(w.next))
		}
		in.dropBulk()
	}
	return nil
}

func (in *installer) dropBulk() {
	in.current.answer.release()
	in.current = bulkWork{}
}

// apply installs the pages of a from the i-th on, at most one copy run, and
// returns how many it dealt with.
func (in *installer) apply(a *answer, i int, o origin) (int, error) {
	p := a.pages.First + lazymig.PageNumber(i)
	if a.bad&(1<<i) != 0 {
		in.refetch(p)
		return 1, nil
	}
	if in.table.known(p) {
		return 1, nil
	}
	if !a.local && !in.table.requested.has(p) && !in.waits(p) {
		a.from.end(fmt.Errorf("%w: page %d was not asked for", wire.ErrMalformed, p))
		return 1, nil
	}
	switch a.pages.Kind(i) {
	case wire.KindZero:
		return 1, in.learnZero(p)
	case wire.KindPoison:
		return 1, in.learnPoison(p)
	case wire.KindData:
		if _, huge := in.whole(p); huge {
			return in.addParts(a, i, o)
		}
		return in.copyRun(a, i, o)
	case wire.KindRef:
		return 1, in.learnRef(a, i)
	case wire.KindElsewhere:
		in.learnElsewhere(a, p, o)
		return 1, nil
	}
	return 0, fmt.Errorf("install page %d: answer has unknown kind %d", p, a.pages.Kind(i))
}

// refetch asks again for a page whose bytes did not match their digest.
func (in *installer) refetch(p lazymig.PageNumber) {
	in.table.requested.clear(p)
	if in.waits(p) {
		in.demand(p)
	}
}

// learnElsewhere deals with a page that the source has left out because it went on
// the demand stream, so that none is fetched twice. Unless it comes there, it is
// asked for again.
func (in *installer) learnElsewhere(a *answer, p lazymig.PageNumber, o origin) {
	switch {
	case o == fromDemand || in.table.refs[p] >= refLimit:
		a.from.end(fmt.Errorf("%w: page %d is never sent", wire.ErrMalformed, p))
	case !in.waits(p):
		in.table.refs[p]++
		in.table.requested.clear(p)
		in.table.dataOnly.set(p)
	}
}

// learnZero notes that p reads as zeros. It is installed only for a thread
// that waits: a hole stays a hole.
func (in *installer) learnZero(p lazymig.PageNumber) error {
	in.table.markZero(p)
	in.arrived(fromZero, lazymig.Run{First: p, Count: 1})
	if whole, huge := in.whole(p); huge {
		_, err := in.complete(whole)
		return err
	}
	if _, waits := in.table.demanded[p]; waits {
		return in.installZero(p)
	}
	return nil
}

func (in *installer) learnPoison(p lazymig.PageNumber) error {
	if whole, huge := in.whole(p); huge {
		return in.losePart(whole)
	}
	in.notePoison(p)
	return in.poison(p)
}

func (in *installer) notePoison(p lazymig.PageNumber) {
	in.table.markPoisoned(p)
	in.counters.count(&in.counters.poisoned, 1)
	in.cells.add(cellPoisoned, lazymig.Run{First: p, Count: 1})
	in.unsaved = append(in.unsaved, p)
}

// saveLost puts a poisoned page on the durable list; each is forced to the disk, so
// the next one waits until faults were looked for. Until all are there, the guest's
// memory is not complete.
func (in *installer) saveLost() {
	if len(in.unsaved) == 0 {
		return
	}
	if err := in.lost.add(in.unsaved[0]); err != nil {
		if !in.complained {
			in.message(err.Error() + "; trying again")
		}
		in.complained, in.holding = true, true
		return
	}
	in.unsaved = in.unsaved[1:]
	in.holding = in.holding || len(in.unsaved) > 0
}

// applyAbsent notes holes of the source, at most absentPages of them, and takes them
// off the answer: those of a large guest are millions of pages, and faults come
// meanwhile. It is over when there are no more.
func (in *installer) applyAbsent(a *answer) (over bool, err error) {
	for left := uint64(absentPages); left > 0 && len(a.absent) > 0; {
		head := &a.absent[0]
		part := lazymig.Run{First: head.First, Count: min(head.Count, left)}
		in.learnZeros(part)
		left -= part.Count
		if head.First, head.Count = part.End(), head.Count-part.Count; head.Count == 0 {
			a.absent = a.absent[1:]
		}
	}
	over = len(a.absent) == 0
	in.mapped = in.mapped || over && a.absentLast
	return over, in.serveWaiting()
}

// learnZeros notes that the pages of run read as zeros.
func (in *installer) learnZeros(run lazymig.Run) {
	for part := range in.cells.parts(run) {
		part.Count = in.table.markZeroRun(part) // only the number of pages matters from here on
		in.arrived(fromZero, part)
	}
}

// copyRun installs the data pages of a from the i-th on that follow each other
// in the VMM's memory and are not known yet, with one UFFDIO_COPY.
func (in *installer) copyRun(a *answer, i int, o origin) (int, error) {
	first := a.pages.First + lazymig.PageNumber(i)
	address, room := in.spans.address(first)
	limit := min(a.pages.Count(), i+copyRunPages, i+int(min(room, copyRunPages)))
	end := i + 1
	for end < limit && in.copies(a, end) {
		end++
	}
	n, err := in.handle.Copy(address, a.pages.DataRun(i, end-i))
	pages := n / lazymig.PageSize
	blame := o == fromDemand && !in.mustBeData(lazymig.Run{First: first, Count: uint64(pages)})
	in.installed(first, pages, o, blame)
	switch {
	case err == nil || pages > 0:
		return max(pages, 1), nil
	case errors.Is(err, unix.EEXIST):
		return 1, in.surprise(first)
	}
	return 0, fmt.Errorf("install page %d: %w", first, err)
}

// copies reports whether the i-th page of a can join a copy run.
func (in *installer) copies(a *answer, i int) bool {
	return a.pages.Kind(i) == wire.KindData && a.bad&(1<<i) == 0 &&
		!in.table.known(a.pages.First+lazymig.PageNumber(i))
}

// installed notes pages that the kernel has confirmed. onLink says that all the
// time that somebody has waited was the link's.
func (in *installer) installed(first lazymig.PageNumber, pages int, o origin, onLink bool) {
	in.table.markInstalled(first, pages)
	in.arrived(o, lazymig.Run{First: first, Count: uint64(pages)})
	if len(in.table.demanded) == 0 {
		return
	}
	now := time.Now()
	for p := first; p < first+lazymig.PageNumber(pages); p++ {
		since, waits := in.table.demanded[p]
		if !waits {
			continue
		}
		in.answered(p, in.counters.histogram(o), since)
		if onLink {
			if in.remote == 0 {
				in.remote = now.Sub(since)
			}
			in.remote += (now.Sub(since) - in.remote) / remoteAnswers
			in.window.Demand(now, now.Sub(since))
		}
	}
}

// arrived counts pages that are known from now on.
func (in *installer) arrived(o origin, run lazymig.Run) {
	in.counters.add(o, run.Count)
	in.cells.add(o, run)
}

// surprise deals with a page that is there although nobody installed it. That
// must not happen: somebody else writes to the guest's memory.
func (in *installer) surprise(p lazymig.PageNumber) error {
	in.counters.count(&in.counters.surprises, 1)
	in.message(fmt.Sprintf("page %d was present before it was installed: another process writes to the RAM file", p))
	whole, _ := in.whole(p)
	in.table.markInstalled(p, int(whole.Count))
	address, _ := in.spans.address(p)
	in.answered(p, in.counters.faultWire, time.Now())
	return in.handle.Wake(address, whole.Count*lazymig.PageSize)
}

// askAhead requests the hot pages that are missing, to be sent at the freeze.
func (in *installer) askAhead() {
	ahead := hotRuns(in.hot, func(p lazymig.PageNumber) bool {
		if _, huge := in.whole(p); huge {
			return false // 2 MiB each would hold up the switch
		}
		return !in.table.known(p) && !in.recipe.knows(p) && !in.mustBeData(lazymig.Run{First: p, Count: 1})
	})
	for _, run := range ahead.Runs {
		in.request(run)
		in.counters.count(&in.counters.ahead, run.Count)
	}
	in.link.ahead <- ahead
}

// request marks run as asked for.
func (in *installer) request(run lazymig.Run) {
	for p := run.First; p < run.End(); p++ {
		in.table.requested.set(p)
	}
	in.window.Add(run.Count)
}

// ask requests more of the background while there is room in the window.
func (in *installer) ask() {
	if in.link == nil || in.onDemand || !in.mapped || !in.committed.Load() || in.storming() {
		return
	}
	for in.window.Room() >= in.window.Request() {
		run, ok := in.next(in.window.Request())
		if !ok && !in.gathersAll() && in.pass() {
			continue
		}
		if !ok || !in.link.prefetch(wanted{run, in.mustBeData(run)}) {
			return
		}
		in.request(run)
	}
}
