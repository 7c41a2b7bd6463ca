package paths

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"runtime"
	"sync"
	"time"

	"github.com/lazymig/lazymig/bench/faults"
	"github.com/lazymig/lazymig/bench/worker"
)

// touchMode is what the process does that has handed its memory over.
type touchMode string

const (
	// touchFor: its threads touch pages for a while.
	touchFor touchMode = "for"
	// touchAll: they touch every page.
	touchAll touchMode = "all"
	// touchLast: they touch nothing until the parent dismisses the process, then
	// every page.
	touchLast touchMode = "last"
)

// touchJob says how to touch the memory.
type touchJob struct {
	Mode    touchMode
	Threads int
	// Words: only the first word of each page is known.
	Words bool
}

// began is the first line of a process that touches memory: it begins now.
type began struct{ At time.Time }

// touched is what came of it. A sample is the time of one fault.
type touched struct {
	Samples []time.Duration
	// Means are the mean waits of the threads.
	Means []time.Duration
	// From and To are the time in which pages were touched.
	From, To time.Time
	// Present counts touches that found the page there.
	Present int
	// Wrong counts pages that had other content.
	Wrong int
}

// touch hands its memory over and touches it, each thread its own pages in
// random order.
func touch(ctx context.Context, j job, out io.Writer) error {
	want, err := openMemory(j.Path, j.Pages)
	if err != nil {
		return err
	}
	memory, err := faults.MapMemory(faults.Anonymous, j.Pages)
	if err != nil {
		return err
	}
	order := rand.New(rand.NewPCG(j.Seed, 0)).Perm(j.Pages)
	threads := make([]thread, j.Touch.Threads)
	for i := range threads {
		threads[i] = thread{
			job: j, number: i, memory: memory, want: want, order: order,
			samples: make([]time.Duration, 0, min(j.Pages/j.Touch.Threads+1, maxSamples)),
		}
	}
	handle, err := faults.HandOver(memory, j.Socket)
	if err != nil {
		return err
	}
	defer runtime.KeepAlive(handle) // never closed: what is missing would read as zeros
	if err := pause(ctx, j); err != nil {
		return err
	}
	start := time.Now()
	if err := worker.Say(out, began{start}); err != nil {
		return err
	}
	if j.Touch.Mode == touchLast {
		<-ctx.Done() // all pages are there now
		ctx, start = context.WithoutCancel(ctx), time.Now()
	}
	done := make(chan struct{})
	go func() { // ends with the process at the latest
		defer close(done)
		var wait sync.WaitGroup
		for i := range threads {
			wait.Go(func() { threads[i].run(start) })
		}
		wait.Wait()
	}()
	select {
	case <-done:
	case <-ctx.Done(): // threads may wait for pages that nobody brings
		return context.Cause(ctx)
	}
	return worker.Say(out, sum(threads, start))
}

// pause waits until it is time to begin.
func pause(ctx context.Context, j job) error {
	select {
	case <-time.After(j.Settle):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// thread is one that touches pages: number, number+threads, … of the order.
type thread struct {
	job          job
	number       int
	memory, want []byte
	order        []int
	samples      []time.Duration
	present      int
	wrong        int
	end          time.Time // of the last touch
}

// run touches pages. Whether a touch was a fault is what the kernel counts. A
// page that a handler has installed is mapped, and its touch is none.
func (t *thread) run(start time.Time) {
	runtime.LockOSThread()
	for i := t.number; i < len(t.order) && len(t.samples) < cap(t.samples); i += t.job.Touch.Threads {
		number := t.order[i]
		page := t.memory[number*pageBytes:][:pageBytes]
		before := faults.ThreadFaults()
		begin := time.Now()
		if t.job.Touch.Mode == touchFor && begin.Sub(start) >= t.job.Budget {
			return
		}
		word := binary.LittleEndian.Uint64(page)
		t.end = time.Now()
		if faults.ThreadFaults() == before {
			t.present++
		} else {
			t.samples = append(t.samples, t.end.Sub(begin))
		}
		t.check(page, word, number)
	}
}

// check compares a page with the file that it comes from.
func (t *thread) check(page []byte, word uint64, number int) {
	right := word == faults.Pattern(uint64(number))
	if right && !t.job.Touch.Words {
		right = bytes.Equal(page, t.want[number*pageBytes:][:pageBytes])
	}
	if !right {
		t.wrong++
	}
}

func sum(threads []thread, start time.Time) touched {
	all := touched{From: start, To: start}
	for _, t := range threads {
		var waited time.Duration
		for _, s := range t.samples {
			waited += s
		}
		if len(t.samples) > 0 {
			all.Means = append(all.Means, waited/time.Duration(len(t.samples)))
		}
		all.Samples = append(all.Samples, t.samples...)
		all.Present += t.present
		all.Wrong += t.wrong
		if t.end.After(all.To) {
			all.To = t.end
		}
	}
	return all
}
