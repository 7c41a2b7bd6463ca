package main

import (
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
)

// bench is the command above the measurements.
func (a *app) bench() *cobra.Command {
	command := &cobra.Command{
		Use:     "bench",
		Short:   "Measure lazymig beside what one would use instead",
		Long:    "Measure lazymig beside what one would use instead, in the same run on this\nmachine, and make tables and pictures of it.",
		Example: "  lazymig bench faults --quick\n  lazymig bench faults --json > faults.json\n  lazymig bench report faults.json --out report",
		Args:    cobra.NoArgs,
		RunE:    func(command *cobra.Command, _ []string) error { return command.Help() },
	}
	command.AddCommand(a.benchFaults(), a.benchPaths(), a.benchMigrate(), a.benchPrefetch(), a.benchReport(), a.benchChild(), a.benchHost())
	return command
}

// beside returns the path of a program that is beside this one, or "".
func beside(name string) string {
	self, err := os.Executable()
	if err != nil {
		return ""
	}
	path := filepath.Join(filepath.Dir(self), name)
	if status, err := os.Stat(path); err != nil || status.IsDir() {
		return ""
	}
	return path
}
