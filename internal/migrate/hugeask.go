package migrate

import "github.com/lazymig/lazymig"

// next returns the next run of at most limit pages that the background asks the
// source for. Huge pages
// are filled one after the other, because each takes memory until it is whole.
func (in *installer) next(limit uint64) (lazymig.Run, bool) {
	for in.huge != nil {
		if run, ok := in.nextPart(limit); ok {
			return run, true
		}
		if in.gathersAll() {
			return lazymig.Run{}, false
		}
		run, ok := in.plan.Next(limit, in)
		whole, huge := in.whole(run.First)
		if !ok || !huge {
			return run, ok
		}
		in.gather(whole)
	}
	return in.plan.Next(limit, in)
}

// gathersAll reports whether the background may open no more huge pages. Those that
// threads wait for do not count.
func (in *installer) gathersAll() bool {
	return in.huge != nil && len(in.huge.open) >= maxGathered+len(in.table.demanded)
}

// nextPart returns the next run of parts that open huge pages lack, and has the
// cache asked for those that it may have.
func (in *installer) nextPart(limit uint64) (lazymig.Run, bool) {
	for _, first := range in.huge.order {
		whole := lazymig.Run{First: first, Count: hugeParts}
		in.lookUpParts(whole)
		run, ok := in.table.missing(first, whole.End(), in.recipe.expects())
		if ok {
			run.Count = min(run.Count, limit, uint64(whole.End()-run.First))
			return run, true
		}
	}
	return lazymig.Run{}, false
}

// lookUpParts has the shelf look for the parts of a huge page, as far as it has
// answers to spare.
func (in *installer) lookUpParts(whole lazymig.Run) {
	if in.shelf == nil {
		return
	}
	g := in.huge.open[whole.First]
	wanted := func(p lazymig.PageNumber) bool {
		return in.recipe.has.has(p) && !g.looked[p-whole.First] && !in.table.known(p)
	}
	for p := whole.First; p < whole.End() && len(in.shelf.slow.free) > 0; {
		run := lazymig.Run{First: p}
		for run.Count < chunkPages && run.End() < whole.End() && wanted(run.End()) {
			g.looked[run.End()-whole.First] = true
			run.Count++
		}
		if run.Count > 0 {
			in.shelf.ask(&in.shelf.slow, run, in.recipe, slowLimit)
		}
		p = run.End() + 1
	}
}

// missingHuge is Missing for a guest with huge pages: those that are open are taken
// care of, and those that are not have to be opened also for what the cache has.
func (in *installer) missingHuge(from lazymig.PageNumber) (lazymig.Run, bool) {
	for _, s := range in.spans {
		for at := max(from, s.first); at < s.end(); {
			run, ok := in.table.missing(at, s.end(), in.expected(s))
			if !ok {
				break
			}
			if whole, huge := in.whole(run.First); huge && in.huge.open[whole.First] != nil {
				at = whole.End()
				continue
			}
			run.Count = min(run.Count, uint64(s.end()-run.First))
			return run, true
		}
	}
	return lazymig.Run{}, false
}

// missingHugeBefore is missingHuge backwards.
func (in *installer) missingHugeBefore(to lazymig.PageNumber) (lazymig.Run, bool) {
	for i := range in.spans {
		s := in.spans[len(in.spans)-1-i]
		for at := min(to, s.end()); at > s.first; {
			run, ok := in.table.missingBefore(at, in.expected(s))
			if !ok || run.End() <= s.first {
				break
			}
			whole, huge := in.whole(run.End() - 1)
			if huge && in.huge.open[whole.First] != nil {
				at = whole.First
				continue
			}
			if run.First < s.first {
				run.First, run.Count = s.first, uint64(run.End()-s.first)
			}
			return run, true
		}
	}
	return lazymig.Run{}, false
}

// expected returns the pages of a span that need not be asked for.
func (in *installer) expected(s span) bitmap {
	if s.huge {
		return nil
	}
	return in.recipe.expects()
}
