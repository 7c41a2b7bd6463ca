package migrations

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/lazymig/lazymig/bench/guest"
	"github.com/lazymig/lazymig/bench/leftover"
	"github.com/lazymig/lazymig/bench/metal"
)

// Values of Setting.RAM.
const (
	RAMShared = "shared"
	RAMPlain  = "plain"
)

// Config says how to measure.
type Config struct {
	// Program is the lazymig that moves guests. There is no default.
	Program string
	// QEMU is the program that runs them. Default qemu-system-x86_64.
	QEMU string
	// Out is the file of results. There is no default.
	Out string
	// Runs are the runs to make, in their order; see Plan.
	Runs []Run
	// Budget bounds the time: no run begins after it. Default: no bound.
	Budget time.Duration
	// Hosts are two machines between which the guests move. Default: namespaces
	// of this one, which need root.
	Hosts *metal.Hosts
	// Environment is put into the records.
	Environment Environment
	// Begun and Ended are called around each run, Skipped for each run that the
	// file has already. Each may be nil.
	Begun, Skipped func(number, of int, run Run)
	Ended          func(Record)
}

// Run is one run that is to be made.
type Run struct {
	Setting Setting
	Repeat  int    // from 1
	Factor  string // what is varied, see Record
}

// key tells runs apart.
func (r Run) key() string { return fmt.Sprintf("%s#%d", r.Setting, r.Repeat) }

// ErrBudget is returned by Measure when the time was over before all runs were
// made. What was made is in the file.
var ErrBudget = errors.New("the time for measurements is over")

// Measure makes the runs that the file has not yet, and appends a record for
// each. A failed run is recorded and the next one follows; the error is of the
// harness itself. It needs root.
func Measure(ctx context.Context, config Config) error {
	if config.Hosts == nil && os.Geteuid() != 0 {
		return &NeedsRootError{}
	}
	if os.Geteuid() == 0 {
		if err := leftover.Sweep(ctx); err != nil {
			return err
		}
	}
	have, err := made(config.Out, config.Environment)
	if err != nil {
		return err
	}
	began := time.Now()
	for i, next := range config.Runs {
		if have[next.key()] {
			tell(config.Skipped, i+1, len(config.Runs), next)
			continue
		}
		if config.Budget > 0 && time.Since(began) > config.Budget {
			return fmt.Errorf("%w: %d of %d runs are left", ErrBudget, len(config.Runs)-i, len(config.Runs))
		}
		if err := ready(ctx, config.Hosts, next); err != nil {
			return err
		}
		tell(config.Begun, i+1, len(config.Runs), next)
		record := one(ctx, config, next)
		if ctx.Err() != nil {
			return context.Cause(ctx) // the run says nothing of the technique
		}
		if err := appendTo(config.Out, record); err != nil {
			return err
		}
		if config.Ended != nil {
			config.Ended(record)
		}
	}
	return nil
}

// ready has two machines ready for a run: one of them may have been lost in the
// run before.
func ready(ctx context.Context, hosts *metal.Hosts, next Run) error {
	if hosts == nil {
		return nil
	}
	if err := hosts.Connect(ctx); err != nil || next.Setting.Guest != Files {
		return err
	}
	path, err := guest.Files(ctx)
	if err != nil {
		return err
	}
	return hosts.CopyFiles(path)
}

func tell(f func(number, of int, run Run), number, of int, run Run) {
	if f != nil {
		f(number, of, run)
	}
}

// one makes one run.
func one(ctx context.Context, config Config, next Run) Record {
	record := Record{
		Version: Version, Kind: "migration", Time: time.Now().UTC().Truncate(time.Second),
		Setting: next.Setting, Repeat: next.Repeat, Factor: next.Factor,
		Environment: config.Environment, Outcome: Verified,
	}
	record.Environment.LoadStart = load()
	if config.Hosts != nil {
		record.Environment.LoadStart = config.Hosts.Load()
	}
	r := &run{config: config, setting: next.Setting, record: &record}
	err := r.measure(ctx)
	if err != nil && config.Hosts != nil {
		err = errors.Join(config.Hosts.Lost(), err) // the reason before what came of it
	}
	if err != nil {
		record.Outcome, record.Error = Failed, err.Error()
	}
	return record
}

// NeedsRootError is returned by Measure when it may not make a network.
type NeedsRootError struct{}

// Error says what needs root.
func (*NeedsRootError) Error() string {
	return "measure migrations: namespaces, taps and the guest's devices need root"
}

// Hint says what to do.
func (*NeedsRootError) Hint() string { return "run it as root, for instance with sudo" }
