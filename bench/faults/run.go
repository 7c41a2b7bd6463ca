package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/lazymig/lazymig/bench/leftover"
	"github.com/lazymig/lazymig/bench/machine"
	"github.com/lazymig/lazymig/uffd"
)

// ErrConfig is returned for a Config that cannot work.
var ErrConfig = errors.New("invalid measurement")

// Config says what to measure.
type Config struct {
	// Quick measures Quick() once instead of Full() three times.
	Quick bool
	// Settings, if any, are measured instead.
	Settings []Setting
	// Repeats is how often everything is measured, one round after the other.
	// 0: 1 if Quick, else 3.
	Repeats int
	// Budget is how long each measurement touches pages. 0: 0.3 s if Quick,
	// else 1 s.
	Budget time.Duration
	// Pages is the memory of a measurement. 0: 256 MiB.
	Pages int
	// SerialHandler is the path of the program of bench/peers/serialhandler.
	// Empty: NoSerial says why there is none.
	SerialHandler, NoSerial string
	// Commit is what is measured.
	Commit string
	// Command starts this program again so that it calls Child with the role.
	// Required.
	Command func(ctx context.Context, role string) *exec.Cmd
	// Report is called for each event. The last has the report.
	Report func(Event)
}

func (c Config) withDefaults() (Config, error) {
	if c.Command == nil || c.Report == nil {
		return c, fmt.Errorf("%w: Command and Report are required", ErrConfig)
	}
	if c.Repeats < 0 || c.Repeats > maxRepeats {
		return c, fmt.Errorf("%w: %d repeats, want 1 to %d", ErrConfig, c.Repeats, maxRepeats)
	}
	settings, repeats, budget := Full(), fullRepeats, fullBudget
	if c.Quick {
		settings, repeats, budget = Quick(), quickRepeats, quickBudget
	}
	if len(c.Settings) == 0 {
		c.Settings = settings
	}
	if c.Repeats == 0 {
		c.Repeats = repeats
	}
	if c.Budget == 0 {
		c.Budget = budget
	}
	if c.Pages == 0 {
		c.Pages = memoryPages
	}
	return c, nil
}

// runner is one run.
type runner struct {
	Config
	dir     string // for sockets
	memory  string // the file that the pages come from
	machine machine.Info
	results map[Case]*pool
	skipped []Skipped
}

// pool is all that was measured of one case.
type pool struct {
	samples []time.Duration
	took    time.Duration
	medians []float64
	bulk    float64 // sum over the repeats
}

// Run measures everything and returns the report, which is also the last
// event. Nothing is left behind. A measurement that fails ends the run.
func Run(ctx context.Context, config Config) (Report, error) {
	config, err := config.withDefaults()
	if err != nil {
		return Report{}, err
	}
	if err := allowed(); err != nil {
		return Report{}, err
	}
	r := &runner{Config: config, machine: machine.Describe(config.Commit), results: map[Case]*pool{}}
	if r.dir, err = os.MkdirTemp("", leftover.Name("faults")); err != nil {
		return Report{}, fmt.Errorf("make a folder for sockets: %w", err)
	}
	r.memory = filepath.Join(memoryDir, leftover.Name("faults"))
	start := time.Now()
	err = r.run(ctx)
	err = errors.Join(err, os.RemoveAll(r.dir), removeFile(r.memory))
	if err != nil {
		return Report{}, err
	}
	report := r.report(time.Since(start))
	r.Report(Event{Event: EventReport, Report: &report})
	return report, nil
}

// memoryDir is a tmpfs on every Linux.
const memoryDir = "/dev/shm"

func removeFile(path string) error {
	if err := os.Remove(path); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// allowed fails, with what to change, where faults cannot be trapped.
func allowed() error {
	handle, err := uffd.Open()
	if err != nil {
		return err
	}
	return handle.Close()
}

func (r *runner) run(ctx context.Context) error {
	cases := plan(r.Settings)
	if r.SerialHandler == "" {
		cases = slices.DeleteFunc(cases, func(c Case) bool { return c.Handler.Serial() })
		r.skipped = append(r.skipped, Skipped{"the serial handler of userfaultfd-go", r.NoSerial})
	}
	if err := writeMemory(r.memory, r.Pages); err != nil {
		return err
	}
	r.Report(Event{Event: EventStart, Machine: &r.machine, Total: len(cases) * r.Repeats})
	for repeat := range r.Repeats {
		for _, c := range cases {
			m, err := r.measure(ctx, c, repeat)
			if errors.Is(err, errNoFault) && c.Handler == LazymigBulk { // on a fast machine
				r.skipped = append(r.skipped, Skipped{
					fmt.Sprintf("a round of %s, %s memory, %d threads, %s cores", c.Handler, c.Memory, c.Threads, c.Load),
					"the background had brought all pages before one was touched",
				})
				continue
			}
			if ctx.Err() != nil { // what else went wrong then is of no interest
				return context.Cause(ctx)
			}
			if err != nil {
				return fmt.Errorf("measure %s, %s memory, %d threads, %s cores: %w", c.Handler, c.Memory, c.Threads, c.Load, err)
			}
			r.Report(Event{Event: EventMeasured, Measured: &m})
		}
	}
	return nil
}

// report puts all repeats together.
func (r *runner) report(took time.Duration) Report {
	out := Report{
		Kind: ReportKind, Machine: r.machine, Quick: r.Quick, Repeats: r.Repeats, Skipped: r.skipped, Seconds: took.Seconds(),
	}
	for _, c := range plan(r.Settings) {
		p := r.results[c]
		if p == nil {
			continue
		}
		slices.Sort(p.samples)
		out.Results = append(out.Results, Result{
			Case: c, Summary: Summarize(p.samples, p.took), P50Range: spread(p.medians), Curve: curve(p.samples),
			BulkBytesPerSecond: p.bulk / float64(len(p.medians)),
		})
	}
	setLimits(out.Results)
	return out
}

// setLimits gives each result what it cannot undercut.
func setLimits(results []Result) {
	medians := map[Case]float64{}
	for _, r := range results {
		medians[r.Case] = r.P50
	}
	for i := range results {
		r := &results[i]
		over := Handler("")
		switch r.Handler {
		case Floor, RoundTripQUIC, RoundTripTCP:
			continue
		case Lazymig, LazymigBulk, SerialQUIC:
			over = RoundTripQUIC
		case SerialTCP:
			over = RoundTripTCP
		case Zero, LazymigCached:
		}
		r.Limit = medians[Case{Floor, r.Setting}]
		if over != "" {
			r.Limit += medians[Case{over, Setting{None, 1, r.Load}}]
		}
		if r.Limit > 0 {
			r.OverLimit = r.P50 / r.Limit
		}
	}
}
