package faults

import (
	"context"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lazymig/lazymig/bench/worker"
)

// touchJob says what to touch, and what must be there.
type touchJob struct {
	Memory  Memory
	Pages   int
	Threads int
	// Budget is for how long.
	Budget time.Duration
	// Settle is how long after the hand-off to begin.
	Settle time.Duration
	// Zeros: the pages read as zeros.
	Zeros bool
	Seed  uint64
}

// touched is what came of it. A sample is the time of one fault.
type touched struct {
	Samples []time.Duration
	// Took is from the start to the end of the last fault.
	Took time.Duration
	// Present counts touches that found the page there.
	Present int
	// Wrong counts pages that had other content.
	Wrong int
}

// check compares the first word of a page.
func (t *touched) check(page []byte, number uint64, zeros bool) {
	want := Pattern(number)
	if zeros {
		want = 0
	}
	if binary.LittleEndian.Uint64(page) != want {
		t.Wrong++
	}
}

// touch hands its memory over and touches it, each thread its own pages in
// random order.
func touch(ctx context.Context, job Job, out io.Writer) error {
	j := job.Touch
	memory, err := MapMemory(j.Memory, j.Pages)
	if err != nil {
		return err
	}
	handle, err := HandOver(memory, job.Socket)
	if err != nil {
		return err
	}
	defer runtime.KeepAlive(handle) // never closed: what is missing would read as zeros
	select {
	case <-time.After(j.Settle):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	order := rand.New(rand.NewPCG(j.Seed, 0)).Perm(j.Pages)
	parts := make([]touched, j.Threads)
	for i := range parts {
		parts[i].Samples = make([]time.Duration, 0, min(j.Pages/j.Threads+1, maxSamples))
	}
	var wait sync.WaitGroup
	start := time.Now()
	for i := range parts {
		wait.Go(func() { parts[i].run(memory, order, i, j, start) })
	}
	done := make(chan struct{})
	go func() {
		wait.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done(): // threads may wait for pages that nobody brings
		return context.Cause(ctx)
	}
	return worker.Say(out, sum(parts))
}

// run is one thread: pages thread, thread+threads, … of the order. Whether a
// touch was a fault is what the kernel counts. A page that a handler has
// installed is mapped, and its touch is none.
func (t *touched) run(memory []byte, order []int, thread int, j touchJob, start time.Time) {
	runtime.LockOSThread()
	for i := thread; i < len(order) && len(t.Samples) < cap(t.Samples); i += j.Threads {
		page := memory[order[i]*pageBytes:][:pageBytes]
		before := ThreadFaults()
		begin := time.Now()
		if begin.Sub(start) >= j.Budget {
			return
		}
		t.check(page, uint64(order[i]), j.Zeros)
		end := time.Now()
		if ThreadFaults() == before {
			t.Present++
			continue
		}
		t.Samples = append(t.Samples, end.Sub(begin))
		t.Took = end.Sub(start)
	}
}

// ThreadFaults counts the faults of the calling thread so far.
func ThreadFaults() int64 {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_THREAD, &u) != nil {
		return 0
	}
	return u.Minflt + u.Majflt
}

func sum(parts []touched) touched {
	var all touched
	for _, p := range parts {
		all.Samples = append(all.Samples, p.Samples...)
		all.Took = max(all.Took, p.Took)
		all.Present += p.Present
		all.Wrong += p.Wrong
	}
	return all
}
