package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/lazymig/lazymig/bench/report"
	"github.com/spf13/cobra"
)

const (
	// plotterName is the program of bench/peers/plotter, as make bench builds
	// it.
	plotterName = "lazymig-bench-plot"

	// reportFile is the file with the tables.
	reportFile = "report.md"
)

func (a *app) benchReport() *cobra.Command {
	var out string
	command := &cobra.Command{
		Use:   "report FILE… [--out DIR]",
		Short: "Make tables and pictures of measurements",
		Long: `Make tables and pictures of measurements: of the lines of JSON that the other
commands of lazymig bench write.

The tables are Markdown, on standard output, or with --out in DIR/report.md.
There the pictures are too, as SVG and PNG. A program of its own draws them,
` + plotterName + `, which make bench puts beside lazymig: it would make
lazymig a third larger. Without it there are only tables.

Exit codes: 0 done; 1 failed; 2 usage, or nothing to report in a file.`,
		Example: `  lazymig bench report faults.json
  lazymig bench report faults.json migrations.json --out report`,
		Args:                  cobra.MinimumNArgs(1),
		ValidArgsFunction:     cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault),
		DisableFlagsInUseLine: true,
		RunE:                  func(_ *cobra.Command, files []string) error { return a.runBenchReport(files, out) },
	}
	command.Flags().StringVar(&out, "out", "", "write tables and pictures into `DIR`, which is made")
	return command
}

func (a *app) runBenchReport(files []string, out string) error {
	set, err := readMeasurements(files)
	if err != nil {
		return err
	}
	if out == "" {
		err = set.Markdown(a.out, func(string) string { return "" })
	} else {
		err = a.writeReport(set, out)
	}
	if err != nil {
		return failed(exitFailed, fmt.Errorf("write the report: %w", err), hintOf(err))
	}
	return nil
}

func readMeasurements(files []string) (report.Set, error) {
	var set report.Set
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return set, failed(exitUsage, err, "")
		}
		err = errors.Join(set.Read(f), f.Close())
		switch {
		case errors.Is(err, report.ErrNothing):
			return set, usage("was it written with --json, to its end?", "%s: %w", name, err)
		case err != nil:
			return set, failed(exitUsage, fmt.Errorf("%s: %w", name, err), "")
		}
	}
	return set, nil
}

// writeReport writes tables and pictures.
func (a *app) writeReport(set report.Set, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	drawn, err := a.drawFigures(set, dir)
	if err != nil {
		return err
	}
	var text bytes.Buffer
	err = set.Markdown(&text, func(name string) string {
		if !drawn {
			return ""
		}
		return name + ".svg"
	})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, reportFile), text.Bytes(), 0o644)
}

// drawFigures reports whether there is a program that draws.
func (a *app) drawFigures(set report.Set, dir string) (bool, error) {
	program := beside(plotterName)
	if program == "" {
		fmt.Fprintf(a.err, "lazymig: no pictures are made: %s is not beside lazymig; make bench builds it\n", plotterName)
		return false, nil
	}
	figures, err := json.Marshal(set.Figures())
	if err != nil {
		return false, err
	}
	cmd := exec.Command(program, dir)
	cmd.Stdin = bytes.NewReader(figures)
	if text, err := cmd.CombinedOutput(); err != nil {
		return false, fmt.Errorf("draw the pictures: %w: %s", err, strings.TrimSpace(string(text)))
	}
	return true, nil
}
