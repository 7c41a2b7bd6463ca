package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"

	"github.com/lazymig/lazymig/bench/plainpages"
	"github.com/lazymig/lazymig/bench/worker"
)

// stage is the processes of one measurement.
type stage struct {
	runner  *runner
	ctx     context.Context
	workers []*worker.Worker
}

// errNoFault: every page was there before it was touched.
var errNoFault = errors.New("no fault was seen")

// measure measures one case once.
func (r *runner) measure(ctx context.Context, c Case, repeat int) (Measured, error) {
	ctx, cancel := context.WithTimeout(ctx, r.Budget+measureTimeout)
	defer cancel()
	s := &stage{runner: r, ctx: ctx}
	result, bulk, err := s.measure(c, repeat)
	s.close()
	if ctx.Err() != nil {
		err = errors.Join(context.Cause(ctx), err)
	}
	switch {
	case err != nil:
		return Measured{}, err
	case result.Wrong > 0:
		return Measured{}, fmt.Errorf("%d of %d pages had wrong content", result.Wrong, len(result.Samples)+result.Present)
	case len(result.Samples) == 0:
		return Measured{}, fmt.Errorf("%w in %d touches", errNoFault, result.Present)
	}
	slices.Sort(result.Samples)
	m := Measured{Case: c, Repeat: repeat, Summary: Summarize(result.Samples, result.Took), BulkBytesPerSecond: bulk}
	p := r.results[c]
	if p == nil {
		p = &pool{}
		r.results[c] = p
	}
	p.samples = append(p.samples, result.Samples...)
	p.took += result.Took
	p.medians = append(p.medians, m.P50)
	p.bulk += bulk
	return m, nil
}

func (s *stage) measure(c Case, repeat int) (touched, float64, error) {
	if c.Load == Busy {
		if _, err := s.serve(RoleBusy, Job{}); err != nil {
			return touched{}, 0, err
		}
	}
	job := touchJob{
		Memory: c.Memory, Pages: s.runner.Pages, Threads: c.Threads, Budget: s.runner.Budget,
		Zeros: c.Handler == Zero, Seed: uint64(repeat) + 1,
	}
	if c.Handler.RoundTrip() {
		return s.roundTrips(c.Handler, job)
	}
	if c.Handler == LazymigBulk {
		job.Settle = settleTime
	}
	if c.Handler == LazymigCached {
		job.Settle = recipeTime
	}
	socket := filepath.Join(s.runner.dir, "socket")
	handler, err := s.handler(c.Handler, socket)
	if err != nil {
		return touched{}, 0, err
	}
	result, err := s.answer(roleTouch, Job{Socket: socket, Touch: job})
	if err != nil || !c.Handler.own() {
		return result, 0, err
	}
	var a account
	err = handler.Read(&a)
	if c.Handler == LazymigCached && err == nil && a.Remote > uint64(len(result.Samples)/100) {
		err = fmt.Errorf("%d of %d pages did not come out of the cache", a.Remote, len(result.Samples))
	}
	return result, a.BulkBytesPerSecond, err
}

// handler starts what answers the faults, and the source of its pages.
func (s *stage) handler(h Handler, socket string) (*worker.Worker, error) {
	job := Job{Socket: socket}
	switch h {
	case Floor:
		return s.ready(RoleFloor, job)
	case Zero:
		return s.ready(roleZero, job)
	case Lazymig, LazymigBulk, LazymigCached:
		source := Job{Path: s.runner.memory}
		if h == Lazymig {
			source.Bandwidth = idleBandwidth
		}
		memory, err := s.serve(roleMemory, source)
		if err != nil {
			return nil, err
		}
		job.From = memory.Address
		if h == LazymigCached {
			job.Cached = s.runner.memory
		}
		return s.ready(roleEngine, job)
	case SerialQUIC, SerialTCP:
		pages, err := s.serve(rolePages, Job{Path: s.runner.memory})
		if err != nil {
			return nil, err
		}
		job.Plain, job.Transport = pages.Plain, transportOf(h)
		cmd := exec.CommandContext(s.ctx, s.runner.SerialHandler)
		w, err := s.start(cmd, "serial handler", job, handlerProcs())
		if err != nil {
			return nil, err
		}
		return w, w.Read(&Ready{})
	default:
		return nil, fmt.Errorf("%w: no handler %q", ErrConfig, h)
	}
}

func transportOf(h Handler) plainpages.Transport {
	if h == SerialTCP || h == RoundTripTCP {
		return plainpages.TCP
	}
	return plainpages.QUIC
}

func (s *stage) roundTrips(h Handler, job touchJob) (touched, float64, error) {
	pages, err := s.serve(rolePages, Job{Path: s.runner.memory})
	if err != nil {
		return touched{}, 0, err
	}
	result, err := s.answer(roleRoundTrip, Job{Plain: pages.Plain, Transport: transportOf(h), Touch: job})
	return result, 0, err
}

// serve starts a server and returns where it is.
func (s *stage) serve(role string, job Job) (Ready, error) {
	var ready Ready
	w, err := s.start(s.runner.Command(s.ctx, role), role, job, handlerProcs())
	if err == nil {
		err = w.Read(&ready)
	}
	return ready, err
}

// ready starts a handler and waits until it listens.
func (s *stage) ready(role string, job Job) (*worker.Worker, error) {
	w, err := s.start(s.runner.Command(s.ctx, role), role, job, handlerProcs())
	if err == nil {
		err = w.Read(&Ready{})
	}
	return w, err
}

// answer starts a worker that does one thing, and returns what it says.
func (s *stage) answer(role string, job Job) (touched, error) {
	env := handlerProcs()
	if role == roleTouch {
		// No thread may have to wait for one that waits for a page.
		env = []string{"GOGC=off", "GODEBUG=asyncpreemptoff=1", procs(touchProcs)}
	}
	var result touched
	w, err := s.start(s.runner.Command(s.ctx, role), role, job, env)
	if err == nil {
		err = w.Read(&result)
	}
	if err == nil {
		err = w.Close()
	}
	return result, err
}

func (s *stage) start(cmd *exec.Cmd, name string, job Job, env []string) (*worker.Worker, error) {
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	cmd.Env = append(cmd.Env, env...)
	w, err := worker.Start(cmd, name, job)
	if err == nil {
		s.workers = append(s.workers, w)
	}
	return w, err
}

func handlerProcs() []string { return []string{procs(max(procsPerCore*runtime.NumCPU(), minProcs))} }

func procs(n int) string { return "GOMAXPROCS=" + strconv.Itoa(n) }

// close ends all workers, the last first: nobody is left without what it needs.
// What was measured is told by then.
func (s *stage) close() {
	for _, w := range slices.Backward(s.workers) {
		w.Kill()
	}
}
