package paths

import (
	"fmt"
	"time"

	"github.com/lazymig/lazymig/bench/link"
	"github.com/lazymig/lazymig/bench/worker"
	"github.com/lazymig/lazymig/internal/migrate"
)

// engine is both ends of lazymig in one measurement.
type engine struct {
	source, destination *worker.Worker
	// accounts of both ends.
	sent, served account
}

// lazymig measures the engine.
func (s *stage) lazymig() (Figures, error) {
	e, err := s.startEngine()
	if err != nil {
		return nil, err
	}
	j := s.job(destination)
	j.Settle = s.settle()
	j.Touch = touchJob{Mode: touchFor, Threads: s.c.Threads}
	switch s.c.Kind {
	case Drain:
		j.Touch.Mode = touchLast
	case Sweep:
		j.Touch.Mode = touchAll
	default:
	}
	w, err := s.start(destination, roleTouch, j)
	if err != nil {
		return nil, err
	}
	var start began
	if err := w.Read(&start); err != nil {
		return nil, err
	}
	before, err := s.runner.link.Counters(destination)
	if err != nil {
		return nil, err
	}
	if s.c.Kind == Drain {
		return s.drained(e, w, start.At, before)
	}
	var t touched
	if err := w.Read(&t); err != nil {
		return nil, err
	}
	after, err := s.runner.link.Counters(destination)
	if err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	f, err := waits(t)
	if err != nil {
		return nil, err
	}
	if err := e.end(); err != nil {
		return nil, err
	}
	e.rates(f, t)
	f[WireRate] = float64(after.Received-before.Received) / t.To.Sub(t.From).Seconds()
	return f, nil
}

// startEngine starts the memory server, then the handler.
func (s *stage) startEngine() (*engine, error) {
	e := &engine{}
	var from ready
	var err error
	if e.source, from, err = s.serve(source, roleMemory, s.job(source)); err != nil {
		return nil, err
	}
	j := s.job(destination)
	j.From, j.OnDemand = from.Address, s.c.Kind == OnDemand
	e.destination, _, err = s.serve(destination, roleEngine, j)
	return e, err
}

// end waits for the accounts: that of the handler comes when its process has
// ended or has everything.
func (e *engine) end() error {
	if err := e.destination.Read(&e.served); err != nil {
		return err
	}
	if err := e.source.Dismiss(); err != nil {
		return err
	}
	if err := e.source.Read(&e.sent); err != nil {
		return err
	}
	return e.served.check()
}

// check fails for a service with which something was wrong: its figures are
// not those of the link.
func (a account) check() error {
	s := a.Served
	switch {
	case s.Outcome == migrate.ServeKilled:
		return fmt.Errorf("serve the memory: the process was killed: %s", s.Reason)
	case s.Reconnects > 0 || s.DigestMismatches > 0:
		return fmt.Errorf("serve the memory: the link was lost %d times, and %d pages came with a wrong digest", s.Reconnects, s.DigestMismatches)
	default:
		return nil
	}
}

// drained waits until all memory is there, and checks it.
func (s *stage) drained(e *engine, w *worker.Worker, start time.Time, before link.Counters) (Figures, error) {
	if err := e.end(); err != nil {
		return nil, err
	}
	after, err := s.runner.link.Counters(destination)
	if err != nil {
		return nil, err
	}
	if e.served.Served.Outcome != migrate.ServeComplete {
		return nil, fmt.Errorf("drain the memory: its process ended first: %s", e.served.Served.Reason)
	}
	if err := w.Dismiss(); err != nil {
		return nil, err
	}
	var t touched
	if err := w.Read(&t); err != nil {
		return nil, err
	}
	// What were not there would read as zeros now: nobody traps faults any more.
	if pages := s.runner.scale.pages(s.c); t.Wrong > 0 || len(t.Samples)+t.Present != pages {
		return nil, fmt.Errorf("drain the memory: of %d pages %d were read and %d had wrong content", pages, len(t.Samples)+t.Present, t.Wrong)
	}
	size := float64(s.runner.scale.pages(s.c)) * pageBytes
	line := timeline(append([]mark{{At: start}}, e.served.Marks...))
	whole := line.span(0, 1).Seconds()
	return Figures{
		Rate:      size * (drainTo - drainFrom) / line.span(drainFrom, drainTo).Seconds(),
		WholeRate: size / whole, WireRate: float64(after.Received-before.Received) / whole,
		CPU:         (e.sent.CPU + e.served.CPU).Seconds() * (1 << 30) / size,
		Connections: float64(e.served.Served.BulkConnections),
	}, nil
}

// rates adds what came while pages were touched.
func (e *engine) rates(f Figures, t touched) {
	line := timeline(e.served.Marks)
	if len(line) == 0 {
		return
	}
	to := t.To
	if last := line[len(line)-1].At; to.After(last) {
		to = last // nothing came then, or nobody knows
	}
	from, until := line.at(t.From), line.at(to)
	if seconds := to.Sub(t.From).Seconds(); seconds > 0 {
		f[Rate] = (until.Pages - from.Pages) * pageBytes / seconds
		f[BulkRate] = (until.Bulk - from.Bulk) * pageBytes / seconds
	}
	f[Connections] = float64(e.served.Served.BulkConnections)
}
