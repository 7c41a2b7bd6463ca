package paths

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/lazymig/lazymig/bench/leftover"
	"github.com/lazymig/lazymig/bench/link"
	"github.com/lazymig/lazymig/bench/machine"
	"github.com/lazymig/lazymig/quictransport"
	"github.com/lazymig/lazymig/uffd"
)

// runner is one run.
type runner struct {
	Config
	scale    scale
	dir      string // for the socket
	identity string // folder of the certificates
	memories map[Memory]string
	link     *link.Link
	machine  machine.Info
	cases    []Case
	rounds   []figuresOf
	failed   []Failed
	skipped  []Skipped
}

// Run measures everything and returns the report, which is also the last
// event. Nothing is left behind. A measurement that fails is recorded, and the
// run goes on; if none works the last failure is returned.
func Run(ctx context.Context, config Config) (Report, error) {
	config, err := config.withDefaults()
	if err != nil {
		return Report{}, err
	}
	if err := allowed(); err != nil {
		return Report{}, err
	}
	r := &runner{Config: config, scale: full, machine: machine.Describe(config.Commit), memories: map[Memory]string{}}
	if r.Quick {
		r.scale = quick
	}
	if r.choose(); len(r.cases) == 0 {
		return Report{}, fmt.Errorf("%w: no case is left to measure", ErrConfig)
	}
	start := time.Now()
	err = r.open(ctx)
	if err == nil {
		err = r.run(ctx)
	}
	if err := errors.Join(err, r.close()); err != nil {
		return Report{}, err
	}
	report := r.report(time.Since(start))
	r.Report(Event{Event: EventReport, Report: &report})
	return report, nil
}

// allowed fails, with what to change, where faults cannot be trapped or
// networks not be made.
func allowed() error {
	if os.Geteuid() != 0 {
		return NeedsRootError{}
	}
	handle, err := uffd.Open()
	if err != nil {
		return err
	}
	return handle.Close()
}

// choose lists what is measured.
func (r *runner) choose() {
	r.cases = slices.Clone(r.Cases)
	if r.SerialHandler == "" {
		r.cases = slices.DeleteFunc(r.cases, func(c Case) bool { return c.Kind == Serial })
		r.skipped = append(r.skipped, Skipped{"the serial handler of userfaultfd-go", r.NoSerial})
	}
}

// open makes what all measurements share: the link, certificates, and memory.
func (r *runner) open(ctx context.Context) (err error) {
	if r.dir, err = os.MkdirTemp("", leftover.Name("paths")); err != nil {
		return fmt.Errorf("make a folder for the socket: %w", err)
	}
	r.identity = filepath.Join(r.dir, "tls")
	if err := quictransport.CreateCA(r.identity); err != nil {
		return err
	}
	if err := quictransport.Issue(r.identity, "host", identityValidity); err != nil {
		return err
	}
	sizes := map[Memory]int{}
	for _, c := range r.cases {
		sizes[c.Memory] = max(sizes[c.Memory], r.scale.pages(c))
	}
	for kind, pages := range sizes {
		r.memories[kind] = filepath.Join(memoryDir, leftover.Name("paths"))
		if err := writeMemory(r.memories[kind], pages, kind); err != nil {
			return err
		}
	}
	r.link, err = link.New(ctx)
	return err
}

func (r *runner) close() error {
	var err error
	if r.link != nil {
		err = r.link.Close()
	}
	for _, path := range r.memories {
		if problem := os.Remove(path); !errors.Is(problem, os.ErrNotExist) {
			err = errors.Join(err, problem)
		}
	}
	return errors.Join(err, os.RemoveAll(r.dir))
}

func (r *runner) run(ctx context.Context) error {
	r.Report(Event{Event: EventStart, Machine: &r.machine, Total: len(r.cases) * r.Rounds})
	var last error
	good := 0
	for round := range r.Rounds {
		done := figuresOf{}
		for _, c := range r.cases {
			f, err := r.measure(ctx, c, round, done)
			if ctx.Err() != nil { // what else went wrong then is of no interest
				return context.Cause(ctx)
			}
			if err != nil {
				last = fmt.Errorf("measure %s: %w", c, err)
				failed := Failed{Case: c, Round: round, Error: err.Error()}
				r.failed = append(r.failed, failed)
				r.Report(Event{Event: EventFailed, Failed: &failed})
				continue
			}
			good++
			done[c] = f
			r.Report(Event{Event: EventMeasured, Measured: &Measured{Case: c, Round: round, Figures: f}})
		}
		r.rounds = append(r.rounds, done)
	}
	if good == 0 {
		return last
	}
	return nil
}
