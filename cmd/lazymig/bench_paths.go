package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/lazymig/lazymig/bench/paths"
	"github.com/lazymig/lazymig/bench/report"
	"github.com/spf13/cobra"
)

// benchPathsFlags are the flags of bench paths.
type benchPathsFlags struct {
	quick, json      bool
	repeats          int
	serial, profiles string
	only             []string
}

func (a *app) benchPaths() *cobra.Command {
	var f benchPathsFlags
	command := &cobra.Command{
		Use:   "paths",
		Short: "Measure faults and drains over network links",
		Long: `Measure what lazymig's engine does over network links with a rate, a delay and
losses, without a guest: how long a thread waits for a page, how much of the
link the background fills, both at once, and many threads at once; beside plain
QUIC, TCP, and the serial handler of userfaultfd-go on the same link. Each
figure that has a limit stands beside it.

The hosts are network namespaces of this machine, so it needs root. It takes
less than twenty seconds with --quick, some seven minutes without. A measurement
that fails is told, and is no data. Nothing is judged by the exit code.

Exit codes: 0 measured; 1 failed; 2 usage.`,
		Example: `  sudo lazymig bench paths --quick
  sudo lazymig bench paths --json > paths.json
  sudo lazymig bench paths --only drain --only quic-bulk --repeat 5`,
		Args:                  cobra.NoArgs,
		DisableFlagsInUseLine: true,
		RunE:                  func(*cobra.Command, []string) error { return a.runBenchPaths(&f) },
	}
	set := command.Flags()
	set.BoolVar(&f.quick, "quick", false, "fewer links, each once and for a shorter time")
	set.IntVar(&f.repeats, "repeat", 0, "measure everything `N` times, one round after the other (default 3, or 1 with --quick)")
	set.StringVar(&f.serial, "serial-handler", "", "the serial handler is this `PROGRAM` (default: "+serialHandlerName+" beside lazymig)")
	set.StringVar(&f.profiles, "profiles", "", "write profiles of lazymig's processor time into `DIR`, which is made")
	set.StringArrayVar(&f.only, "only", nil, "measure what has `TEXT` in its name as it is told while measuring; more of them add up")
	registerJSON(set, &f.json)
	return command
}

func (a *app) runBenchPaths(f *benchPathsFlags) error {
	cfg := paths.Config{
		Quick: f.quick, Rounds: f.repeats, Commit: builtFrom().Commit,
		SerialHandler: f.serial, Profiles: f.profiles, Command: benchChild,
	}
	if f.serial == "" {
		cfg.SerialHandler, cfg.NoSerial = beside(serialHandlerName), noSerial
	} else if _, err := os.Stat(f.serial); err != nil {
		return usage("", "invalid --serial-handler: %w", err)
	}
	for _, c := range paths.Plan(f.quick) {
		if slices.ContainsFunc(f.only, func(text string) bool { return strings.Contains(c.String(), text) }) {
			cfg.Cases = append(cfg.Cases, c)
		}
	}
	if len(f.only) > 0 && len(cfg.Cases) == 0 {
		return usage("", "invalid --only: nothing that is measured has %q in its name", f.only)
	}
	if f.profiles != "" {
		if err := os.MkdirAll(f.profiles, 0o755); err != nil {
			return usage("", "invalid --profiles: %w", err)
		}
	}
	ctx, stop := interruptible()
	defer stop(nil)
	cfg.Report = a.pathTeller(f.json, stop)
	_, err := paths.Run(ctx, cfg)
	switch {
	case errors.Is(err, paths.ErrConfig):
		return failed(exitUsage, err, "")
	case err != nil:
		return failed(exitFailed, err, hintOf(err))
	}
	return nil
}

// pathTeller returns what shows the events: progress on standard error, and on
// standard output lines of JSON, or tables at the end.
func (a *app) pathTeller(asJSON bool, stop func(error)) func(paths.Event) {
	lines := json.NewEncoder(a.out)
	done, total := 0, 0
	return func(e paths.Event) {
		switch e.Event {
		case paths.EventStart:
			total = e.Total
		case paths.EventMeasured:
			done++
			fmt.Fprintf(a.err, "%d/%d: %s: %s\n", done, total, e.Measured.Case, report.PathSummary(e.Measured.Figures))
		case paths.EventFailed:
			done++
			fmt.Fprintf(a.err, "%d/%d: %s: failed: %s\n", done, total, e.Failed.Case, e.Failed.Error)
		}
		var err error
		if asJSON {
			err = lines.Encode(e)
		} else if e.Event == paths.EventReport {
			err = a.writePaths(*e.Report)
		}
		if err != nil {
			stop(fmt.Errorf("write what was measured: %w", err))
		}
	}
}

func (a *app) writePaths(r paths.Report) error {
	fmt.Fprintln(a.err)
	for _, line := range wrap(report.PathOrigin(r), sheetWidth) {
		fmt.Fprintln(a.out, line)
	}
	fmt.Fprintln(a.out)
	for _, t := range report.PathTables(r, false) {
		if err := t.WriteText(a.out); err != nil {
			return err
		}
	}
	for _, text := range report.PathGaps(r) {
		for _, line := range wrap(text, sheetWidth) {
			fmt.Fprintln(a.out, line)
		}
	}
	return nil
}
