package main

import "github.com/spf13/cobra"

func (a *app) bench() *cobra.Command {
	command := &cobra.Command{
		Use:     "bench",
		Short:   "Measure on this machine",
		Long:    "Measure on this machine. Each command says what it needs.",
		Example: "  lazymig bench migrate --quick --out quick.jsonl",
		Args:    cobra.NoArgs,
	}
	command.AddCommand(a.benchMigrate())
	return command
}
