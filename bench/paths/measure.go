package paths

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"time"

	"github.com/lazymig/lazymig/bench/faults"
	"github.com/lazymig/lazymig/bench/plainpages"
	"github.com/lazymig/lazymig/bench/rawquic"
)

// errNoFault: every page was there before it was touched.
var errNoFault = errors.New("no fault was seen")

// measure measures one case once. done are the figures of the round so far.
func (r *runner) measure(ctx context.Context, c Case, round int, done figuresOf) (Figures, error) {
	ctx, cancel := context.WithTimeout(ctx, measureTimeout)
	defer cancel()
	if err := r.useLink(ctx, c.Link, round); err != nil {
		return nil, err
	}
	dropped := r.link.PathStats().Dropped
	s := &stage{runner: r, ctx: ctx, c: c, round: round}
	f, err := s.measure(done)
	s.close()
	if ctx.Err() != nil {
		err = errors.Join(context.Cause(ctx), err)
	}
	if err != nil {
		return nil, err
	}
	if n := r.link.PathStats().Dropped - dropped; n > 0 {
		f[RelayDropped] = float64(n)
	}
	return f, nil
}

func (s *stage) measure(done figuresOf) (Figures, error) {
	if s.c.Load == faults.Busy {
		if _, _, err := s.serve(destination, faults.RoleBusy, faults.Job{}); err != nil {
			return nil, err
		}
	}
	switch s.c.Kind {
	case Floor:
		return s.floor()
	case RoundTrip:
		return s.roundTrips()
	case Serial:
		return s.serial()
	case RawQUIC:
		return s.rawQUIC()
	case Reno:
		return s.reno(done)
	case OnDemand, Beside, Drain, Sweep:
		return s.lazymig()
	default:
		return nil, fmt.Errorf("%w: no kind %q", ErrConfig, s.c.Kind)
	}
}

// floor has no network and no engine: what the kernel and a wake-up cost.
func (s *stage) floor() (Figures, error) {
	j := s.job(destination)
	if _, _, err := s.serve(destination, faults.RoleFloor, faults.Job{Socket: j.Socket}); err != nil {
		return nil, err
	}
	j.Touch = touchJob{Mode: touchFor, Threads: s.c.Threads, Words: true}
	return s.touched(j)
}

// touched runs the process that touches memory.
func (s *stage) touched(j job) (Figures, error) {
	w, err := s.start(destination, roleTouch, j)
	if err == nil {
		err = w.Read(&began{})
	}
	var t touched
	if err == nil {
		err = w.Read(&t)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, err
	}
	return waits(t)
}

// waits describes faults or round trips.
func waits(t touched) (Figures, error) {
	touches := len(t.Samples) + t.Present
	if t.Wrong > 0 {
		return nil, fmt.Errorf("%d of %d pages had wrong content", t.Wrong, touches)
	}
	if len(t.Samples) == 0 {
		return nil, fmt.Errorf("%w in %d touches", errNoFault, t.Present)
	}
	return describe(t), nil
}

func (s *stage) roundTrips() (Figures, error) {
	_, from, err := s.serve(source, rolePages, s.job(source))
	if err != nil {
		return nil, err
	}
	j := s.job(destination)
	j.Plain = from.Plain
	var t touched
	if err := s.answer(destination, roleRoundTrip, j, &t); err != nil {
		return nil, err
	}
	return waits(t)
}

// serial measures the handler of userfaultfd-go, which is a program of its own.
func (s *stage) serial() (Figures, error) {
	_, from, err := s.serve(source, rolePages, s.job(source))
	if err != nil {
		return nil, err
	}
	j := s.job(destination)
	w, err := s.startCommand(destination, exec.CommandContext(s.ctx, s.runner.SerialHandler), "serial handler",
		faults.Job{Socket: j.Socket, Plain: from.Plain, Transport: plainpages.QUIC}, []string{procs(minProcs)})
	if err == nil {
		err = w.Read(&ready{})
	}
	if err != nil {
		return nil, err
	}
	j.Touch = touchJob{Mode: touchFor, Threads: s.c.Threads}
	return s.touched(j)
}

func (s *stage) rawQUIC() (Figures, error) {
	command := func(host func(context.Context, *exec.Cmd) *exec.Cmd) func(context.Context, string, ...string) *exec.Cmd {
		return func(ctx context.Context, _ string, _ ...string) *exec.Cmd {
			return host(ctx, s.runner.Command(ctx, roleRawQUIC))
		}
	}
	size := int64(s.runner.scale.pages(s.c)) * pageBytes
	result, err := rawquic.Run(s.ctx, rawquic.Config{
		Address: source.Address() + ":0", Bytes: size, RoundTrips: rawRoundTrips,
		Server: command(func(ctx context.Context, cmd *exec.Cmd) *exec.Cmd { return s.runner.inside(ctx, source, cmd) }),
		Client: command(func(ctx context.Context, cmd *exec.Cmd) *exec.Cmd { return s.runner.inside(ctx, destination, cmd) }),
	})
	if err != nil {
		return nil, err
	}
	return Figures{Rate: result.BytesPerSecond, CPU: result.CPUPerGiB(size).Seconds(), Connections: 1}, nil
}

// reno measures as many TCP flows as lazymig had connections over this link.
func (s *stage) reno(done figuresOf) (Figures, error) {
	flows := done[on(s.c.Link, Drain, 1)][Connections]
	if flows == 0 {
		return nil, errors.New("it is not known how many connections lazymig uses: its drain was not measured")
	}
	_, from, err := s.serve(source, roleSendFlows, s.job(source))
	if err != nil {
		return nil, err
	}
	j := s.job(destination)
	j.From, j.Flows, j.Settle, j.Budget = from.Address, int(flows), flowSettle, max(j.Budget, flowSettle)
	var f flowed
	if err := s.answer(destination, roleReadFlows, j, &f); err != nil {
		return nil, err
	}
	return Figures{Rate: float64(f.Bytes) / f.Took.Seconds(), Connections: flows}, nil
}

// settle is how long behind the hand-off of a case touching begins.
func (s *stage) settle() time.Duration {
	switch s.c.Kind {
	case OnDemand:
		return idleSettle
	case Beside:
		return s.runner.scale.busySettle
	default:
		return 0
	}
}
