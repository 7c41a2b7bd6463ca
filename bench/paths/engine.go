package paths

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/pprof"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lazymig/lazymig/bench/worker"
	"github.com/lazymig/lazymig/internal/migrate"
	"github.com/lazymig/lazymig/quictransport"
)

// account is what an end of lazymig says at its end.
type account struct {
	// CPU is what the process has used since it was ready.
	CPU time.Duration
	// Served is how its process was served; of the engine alone.
	Served migrate.Served
	// Marks are what it had brought, in the order of time.
	Marks []mark
}

// mark is what the engine had brought at one time: pages, and those of the
// background among them.
type mark struct {
	At          time.Time
	Pages, Bulk float64
}

func markOf(e migrate.ServeEvent) mark {
	p := e.Progress
	return mark{At: e.Time, Pages: float64(p.Demand + p.Bulk + p.Cache + p.Zero), Bulk: float64(p.Bulk)}
}

// serveEngine serves one process with lazymig's engine.
func serveEngine(ctx context.Context, j job, out io.Writer) error {
	identity, err := quictransport.LoadIdentity(j.Identity)
	if err != nil {
		return err
	}
	abandon := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { close(abandon) })
	defer stop()
	meter, err := startMeter(j.Profile)
	if err != nil {
		return err
	}
	var a account
	var said error
	err = migrate.ServeFaults(ctx, migrate.ServeFaultsConfig{
		Socket: j.Socket, From: j.From, Identity: identity, Once: true, Abandon: abandon, OnDemand: j.OnDemand,
		Report: func(e migrate.ServeEvent) {
			switch e.Event {
			case migrate.EventListening:
				meter.reset()
				said = errors.Join(said, worker.Say(out, ready{}))
			case migrate.EventProgress, migrate.EventComplete:
				a.Marks = append(a.Marks, markOf(e))
			case migrate.EventDetached:
				a.Served = *e.Served
			}
		},
	})
	if err := errors.Join(err, said); err != nil {
		return err
	}
	a.CPU, err = meter.stop()
	return errors.Join(err, worker.Say(out, a))
}

// serveMemory is the source: lazymig's memory server.
func serveMemory(ctx context.Context, j job, out io.Writer) error {
	identity, err := quictransport.LoadIdentity(j.Identity)
	if err != nil {
		return err
	}
	meter, err := startMeter(j.Profile)
	if err != nil {
		return err
	}
	var said error
	err = migrate.ServeMemory(ctx, migrate.ServeMemoryConfig{
		Listen: j.Host + ":0", Memory: j.Path, Identity: identity,
		Report: func(e migrate.ServeEvent) {
			if e.Event == migrate.EventListening {
				meter.reset()
				said = worker.Say(out, ready{Address: e.Address})
			}
		},
	})
	if err := errors.Join(err, said); err != nil {
		return err
	}
	var a account
	a.CPU, err = meter.stop()
	return errors.Join(err, worker.Say(out, a))
}

// meter measures the processor time of this process, and writes a profile of
// it if it has a file.
type meter struct {
	file  *os.File
	since atomic.Int64
}

func startMeter(path string) (*meter, error) {
	m := &meter{}
	if path == "" {
		return m, nil
	}
	var err error
	if m.file, err = os.Create(path); err != nil {
		return nil, fmt.Errorf("write a profile: %w", err)
	}
	if err := pprof.StartCPUProfile(m.file); err != nil {
		return nil, errors.Join(fmt.Errorf("write the profile %s: %w", path, err), m.file.Close())
	}
	return m, nil
}

// reset begins to count from now on.
func (m *meter) reset() { m.since.Store(int64(cpu())) }

// stop returns what was used since.
func (m *meter) stop() (time.Duration, error) {
	used := cpu() - time.Duration(m.since.Load())
	if m.file == nil {
		return used, nil
	}
	pprof.StopCPUProfile()
	if err := m.file.Close(); err != nil {
		return used, fmt.Errorf("write a profile: %w", err)
	}
	return used, nil
}

// cpu returns the processor time of this process until now.
func cpu() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
