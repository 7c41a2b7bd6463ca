package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/lazymig/lazymig/bench/report"
	"github.com/lazymig/lazymig/bench/report/plots"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "plotter:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 2 {
		return fmt.Errorf("usage: plotter DIR < FIGURES")
	}
	var figures []report.Figure
	if err := json.NewDecoder(os.Stdin).Decode(&figures); err != nil {
		return fmt.Errorf("read figures: %w", err)
	}
	return plots.Draw(os.Args[1], figures)
}
