package paths

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/lazymig/lazymig/bench/link"
	"github.com/lazymig/lazymig/bench/worker"
)

// The hosts: the pages are at A, and wanted at B.
const (
	source      = link.HostA
	destination = link.HostB
)

// stage is the processes of one measurement.
type stage struct {
	runner  *runner
	ctx     context.Context
	c       Case
	round   int
	workers []*worker.Worker
}

// job returns what all workers of the case are told.
func (s *stage) job(host link.Side) job {
	return job{
		Host: host.Address(), Identity: s.runner.identity, Socket: filepath.Join(s.runner.dir, "socket"),
		Path: s.runner.memories[s.c.Memory], Pages: s.runner.scale.pages(s.c),
		Budget: s.runner.scale.budget, Seed: uint64(s.round) + 1,
		Profile: s.profile(host),
	}
}

// profile returns where the profile of an end of lazymig goes.
func (s *stage) profile(host link.Side) string {
	if s.runner.Profiles == "" {
		return ""
	}
	l := s.c.Link
	name := fmt.Sprintf("%s-%dMbit-%gms-%gloss-%dthreads-%s-%s-%d-%s.pprof",
		s.c.Kind, l.RateBits/1e6, l.RTTMS, l.Loss, s.c.Threads, s.c.Load, s.c.Memory, s.round, host)
	return filepath.Join(s.runner.Profiles, name)
}

// start starts a worker of this program on a host.
func (s *stage) start(host link.Side, role string, j any) (*worker.Worker, error) {
	env := []string{procs(max(procsPerCore*runtime.NumCPU(), minProcs))}
	if role == roleTouch {
		// No thread may have to wait for one that waits for a page.
		env = []string{"GOGC=off", "GODEBUG=asyncpreemptoff=1", procs(touchProcs)}
	}
	return s.startCommand(host, s.runner.Command(s.ctx, role), role, j, env)
}

func (s *stage) startCommand(host link.Side, cmd *exec.Cmd, name string, j any, env []string) (*worker.Worker, error) {
	cmd = s.runner.inside(s.ctx, host, cmd)
	cmd.Env = append(cmd.Env, env...)
	w, err := worker.Start(cmd, name, j)
	if err == nil {
		s.workers = append(s.workers, w)
	}
	return w, err
}

// serve starts a worker and waits until it serves.
func (s *stage) serve(host link.Side, role string, j any) (*worker.Worker, ready, error) {
	var r ready
	w, err := s.start(host, role, j)
	if err == nil {
		err = w.Read(&r)
	}
	return w, r, err
}

// answer starts a worker that does one thing, and reads what it says.
func (s *stage) answer(host link.Side, role string, j, to any) error {
	w, err := s.start(host, role, j)
	if err == nil {
		err = w.Read(to)
	}
	if err == nil {
		err = w.Close()
	}
	return err
}

// close ends all workers, the last first: nobody is left without what it needs.
func (s *stage) close() {
	for _, w := range slices.Backward(s.workers) {
		w.Kill()
	}
}

func procs(n int) string { return "GOMAXPROCS=" + strconv.Itoa(n) }

// inside returns cmd as one that runs on a host.
func (r *runner) inside(ctx context.Context, host link.Side, cmd *exec.Cmd) *exec.Cmd {
	in := r.link.Command(ctx, host, cmd.Path, cmd.Args[1:]...)
	if in.Env = cmd.Env; in.Env == nil {
		in.Env = os.Environ()
	}
	return in
}

// useLink makes the way between the hosts that of a case.
func (r *runner) useLink(ctx context.Context, l Link, round int) error {
	path := link.Path{RTT: time.Duration(l.RTTMS * float64(time.Millisecond)), Loss: l.Loss}
	if l.Loss > 0 {
		path.Seed = uint64(round) + 1
	}
	if err := r.link.SetPath(ctx, path); err != nil {
		return err
	}
	return r.link.SetRate(ctx, l.RateBits)
}
