package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"

	measure "github.com/lazymig/lazymig/bench/faults"
	"github.com/lazymig/lazymig/bench/paths"
	"github.com/lazymig/lazymig/bench/report"
	"github.com/spf13/cobra"
)

// serialHandlerName is the program of bench/peers/serialhandler, as make bench
// builds it.
const serialHandlerName = "lazymig-bench-serial"

// noSerial says why there is none.
const noSerial = serialHandlerName + " is not beside lazymig: make bench builds it, with a C compiler"

// benchFaultsFlags are the flags of bench faults.
type benchFaultsFlags struct {
	quick, json bool
	repeats     int
	serial      string
}

func (a *app) benchFaults() *cobra.Command {
	var f benchFaultsFlags
	command := &cobra.Command{
		Use:   "faults",
		Short: "Measure how long a touch of a missing page takes",
		Long: `Measure how long a thread waits that touches a missing page, as it sees it: the
floor of this machine, lazymig's engine over QUIC on loopback, the serial
handler of userfaultfd-go, and round trips without a fault.

All of it runs on this machine, in processes of its own, and takes up to half a
minute with --quick, some ten minutes without. The serial handler is a program
of its own, since it needs cgo; make bench builds it.

Exit codes: 0 measured; 1 failed; 2 usage.`,
		Example: `  lazymig bench faults --quick
  lazymig bench faults --json > faults.json`,
		Args:                  cobra.NoArgs,
		DisableFlagsInUseLine: true,
		RunE:                  func(*cobra.Command, []string) error { return a.runBenchFaults(&f) },
	}
	set := command.Flags()
	set.BoolVar(&f.quick, "quick", false, "fewer settings, each once and for a shorter time")
	set.IntVar(&f.repeats, "repeat", 0, "measure everything `N` times, one round after the other (default 3, or 1 with --quick)")
	set.StringVar(&f.serial, "serial-handler", "", "the serial handler is this `PROGRAM` (default: "+serialHandlerName+" beside lazymig)")
	registerJSON(set, &f.json)
	return command
}

func (a *app) runBenchFaults(f *benchFaultsFlags) error {
	cfg := measure.Config{
		Quick: f.quick, Repeats: f.repeats, Commit: builtFrom().Commit,
		SerialHandler: f.serial, Command: benchChild,
	}
	if f.serial == "" {
		cfg.SerialHandler, cfg.NoSerial = beside(serialHandlerName), noSerial
	} else if _, err := os.Stat(f.serial); err != nil {
		return usage("", "invalid --serial-handler: %w", err)
	}
	ctx, stop := interruptible()
	defer stop(nil)
	cfg.Report = a.faultTeller(f.json, stop)
	_, err := measure.Run(ctx, cfg)
	switch {
	case errors.Is(err, measure.ErrConfig):
		return failed(exitUsage, err, "")
	case err != nil:
		return failed(exitFailed, err, hintOf(err))
	}
	return nil
}

// faultTeller returns what shows the events: progress on standard error, and on
// standard output lines of JSON, or tables at the end.
func (a *app) faultTeller(asJSON bool, stop context.CancelCauseFunc) func(measure.Event) {
	lines := json.NewEncoder(a.out)
	done, total := 0, 0
	return func(e measure.Event) {
		switch e.Event {
		case measure.EventStart:
			total = e.Total
		case measure.EventMeasured:
			done++
			m := e.Measured
			fmt.Fprintf(a.err, "%d/%d: %s, %s: %.1f µs\n", done, total, report.Name(m.Handler), report.Where(m.Case), m.P50)
		}
		var err error
		if asJSON {
			err = lines.Encode(e)
		} else if e.Event == measure.EventReport {
			err = a.writeFaults(*e.Report)
		}
		if err != nil {
			stop(fmt.Errorf("write what was measured: %w", err))
		}
	}
}

func (a *app) writeFaults(r measure.Report) error {
	fmt.Fprintln(a.err)
	for _, line := range wrap(report.Origin(r), sheetWidth) {
		fmt.Fprintln(a.out, line)
	}
	fmt.Fprintln(a.out)
	for _, t := range report.FaultTables(r, false) {
		if err := t.WriteText(a.out); err != nil {
			return err
		}
	}
	for _, s := range r.Skipped {
		for _, line := range wrap(fmt.Sprintf("Not measured: %s (%s).", s.What, s.Why), sheetWidth) {
			fmt.Fprintln(a.out, line)
		}
	}
	return nil
}

// benchChild starts this program as a part of a measurement.
func benchChild(ctx context.Context, role string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0]
	}
	return exec.CommandContext(ctx, self, "bench", "child", role)
}

// benchChild is the command of such a part.
func (a *app) benchChild() *cobra.Command {
	return &cobra.Command{
		Use: "child ROLE", Hidden: true, Args: cobra.ExactArgs(1),
		Short: "Be a part of a measurement",
		RunE: func(_ *cobra.Command, args []string) error {
			if err := paths.Child(args[0], os.Stdin, a.out); err != nil {
				return failed(exitFailed, err, "")
			}
			return nil
		},
	}
}
