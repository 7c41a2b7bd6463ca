package prefetch_test

import (
	"fmt"
	"time"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/prefetch"
)

// The background of a guest of ten pages, of which the pages 3 and 4 are there
// already: what is asked for, how much at a time, and what slow answers to
// faults do to it.
func Example() {
	there := map[lazymig.PageNumber]bool{3: true, 4: true}
	missing := func(from lazymig.PageNumber) (run lazymig.Run, ok bool) {
		for p := from; p < 10; p++ {
			switch {
			case !there[p] && run.Count == 0:
				run = lazymig.Run{First: p, Count: 1}
			case !there[p]:
				run.Count++
			case run.Count > 0:
				return run, true
			}
		}
		return run, run.Count > 0
	}

	var linear prefetch.Linear
	window := prefetch.Window{Chunk: 2, Most: 8, Target: 10 * time.Millisecond}
	for {
		run, ok := linear.Next(window.Chunk, missing)
		if !ok {
			break
		}
		window.Add(run.Count)
		fmt.Printf("ask for %d from %d; room for %d more\n", run.Count, run.First, window.Room())
		for p := run.First; p < run.End(); p++ {
			there[p] = true
		}
		window.Done(time.Unix(0, 0), run.Count) // the answer has come
	}

	now := time.Unix(1, 0)
	window.Demand(now, time.Millisecond)
	before := window.Limit()
	for range 4 {
		now = now.Add(10 * time.Millisecond)
		window.Demand(now, 50*time.Millisecond)
	}
	fmt.Println("demand waits, so the background gives way:", before, "→", window.Limit())
	// Output:
	// ask for 2 from 0; room for 0 more
	// ask for 1 from 2; room for 3 more
	// ask for 2 from 5; room for 3 more
	// ask for 2 from 7; room for 5 more
	// ask for 1 from 9; room for 7 more
	// demand waits, so the background gives way: 8 → 4
}
