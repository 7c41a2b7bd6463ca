package migrate

import (
	"context"
	"fmt"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/internal/wire"
)

// fileFeeds returns what opens feeds from a memory file of this host: two
// goroutines read it, one for the pages that somebody waits for, one for the
// background. There is no network, so there are no digests either.
func fileFeeds(memory *snapshot) openFeed {
	first := true
	return func(ctx context.Context, in *installer) (*feed, error) {
		if err := memory.check(); err != nil {
			return nil, err
		}
		if !first { // the one before could not read
			if err := pauseFor(ctx, sourcePause); err != nil {
				return nil, err
			}
		}
		first = false
		r := newFileReader(ctx, memory, in)
		r.start()
		none := func() uint64 { return 0 }
		return &feed{
			fetcher: r.fetcher, done: r.ctx.Done(), err: func() error { return context.Cause(r.ctx) },
			close: func() {
				r.cancel(nil)
				r.fetcher.stop()
			},
			sent: none, received: none,
		}, nil
	}
}

// fileReader answers what the installer asks a fetcher for from a file.
type fileReader struct {
	ctx     context.Context
	cancel  context.CancelCauseFunc
	pages   *pageServer // reads, and knows the holes
	fetcher *fetcher
	in      *installer
}

func newFileReader(ctx context.Context, memory *snapshot, in *installer) *fileReader {
	layout := memory.layout()
	r := &fileReader{in: in, pages: &pageServer{
		layout: layout, memory: memory,
		lost: &poisonList{layout: layout, pages: map[lazymig.PageNumber]struct{}{}},
	}}
	r.ctx, r.cancel = context.WithCancelCause(ctx)
	r.fetcher = &fetcher{
		layout: layout, counters: in.counters, out: in,
		demands: demandQueue{signal: make(chan struct{}, 1)},
		ahead:   make(chan wire.Ahead, 1),
		lanes:   []*lane{newLane()},
		fail:    r.cancel,
	}
	return r
}

func (r *fileReader) start() {
	f := r.fetcher
	f.wait.Go(func() { f.end(r.serveDemands()) })
	f.wait.Go(func() { f.end(r.serveBackground()) })
}

// slots makes the answers that one goroutine may have out at a time, each with
// a buffer of its own.
func (r *fileReader) slots(l *lane) (free chan *answer, readers map[*answer]*answerer) {
	free, readers = make(chan *answer, localAnswers), map[*answer]*answerer{}
	for range localAnswers {
		a := &answer{from: r.fetcher, lane: l, home: free}
		readers[a] = &answerer{server: r.pages, builder: wire.NewPagesBuilder()}
		free <- a
	}
	return free, readers
}

func (r *fileReader) serveDemands() error {
	free, readers := r.slots(nil)
	var request wire.Request
	for {
		select {
		case <-r.fetcher.demands.signal:
		case <-r.ctx.Done():
			return nil
		}
		for request = r.fetcher.demands.take(request.Runs); len(request.Runs) > 0; request = r.fetcher.demands.take(request.Runs) {
			for _, run := range request.Runs {
				if err := r.answer(run, free, readers, r.in.demands); err != nil {
					return err
				}
			}
		}
	}
}

func (r *fileReader) serveBackground() error {
	l := r.fetcher.lanes[0]
	free, readers := r.slots(l)
	if err := r.tellHoles(free); err != nil {
		return err
	}
	for {
		select {
		case w := <-l.requests:
			if err := r.answer(w.run, free, readers, r.in.bulk); err != nil {
				return err
			}
		case <-r.ctx.Done():
			return nil
		}
	}
}

// answer reads run, at most what one frame takes, and hands it over.
func (r *fileReader) answer(run lazymig.Run, free <-chan *answer, readers map[*answer]*answerer, out chan<- *answer) error {
	for run.Count > 0 {
		var a *answer
		select {
		case a = <-free:
		case <-r.ctx.Done():
			return nil
		}
		reader := readers[a]
		n, err := reader.read(run)
		if err != nil {
			return err
		}
		a.absent, a.absentLast = nil, false
		if a.pages, err = reader.builder.Pages(); err != nil {
			return fmt.Errorf("read page %d: %w", run.First, err) // cannot be
		}
		r.in.counters.count(&r.in.counters.raw, uint64(n)*lazymig.PageSize)
		if !r.give(a, out) {
			return nil
		}
		run = lazymig.Run{First: run.First + lazymig.PageNumber(n), Count: run.Count - uint64(n)}
	}
	return nil
}

// give hands an answer to the installer; false if the feed has ended.
func (r *fileReader) give(a *answer, out chan<- *answer) bool {
	select {
	case out <- a:
		r.in.reader.Wakeup()
		return true
	case <-r.ctx.Done():
		return false
	}
}

// tellHoles names the holes of the file, as a server does.
func (r *fileReader) tellHoles(free <-chan *answer) error {
	var runs []lazymig.Run
	err := r.pages.holes(0, func(run lazymig.Run) error {
		runs = append(runs, run)
		return nil
	})
	if err != nil {
		return err
	}
	select {
	case a := <-free:
		a.pages, a.absent, a.absentLast = wire.Pages{}, runs, true
		r.give(a, r.in.bulk)
	case <-r.ctx.Done():
	}
	return nil
}
