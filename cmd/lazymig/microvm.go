package main

import (
	"errors"
	"flag"
	"fmt"
	"os/signal"
	"syscall"

	"github.com/lazymig/lazymig/internal/vmm/microvm"
	"github.com/spf13/cobra"
)

// microvm is the embedded VMM, for trials and tests of lazymig itself.
func (a *app) microvm() *cobra.Command {
	return &cobra.Command{
		Use: microvm.Command + " FLAGS", Hidden: true, DisableFlagParsing: true,
		Short: "Run the embedded VMM, whose guest verifies its memory",
		RunE: func(command *cobra.Command, args []string) error {
			config, err := microvm.ParseArgs(args)
			if errors.Is(err, flag.ErrHelp) {
				fmt.Fprintf(a.out, "Usage: %s FLAGS\n\n%s\n", command.CommandPath(), microvm.Usage)
				return nil
			}
			if err != nil {
				return failed(exitUsage, err, "lazymig microvm --help lists the flags")
			}
			ctx, stop := signal.NotifyContext(command.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			if err := microvm.Run(ctx, config); err != nil {
				return failed(exitFailed, err, hintOf(err))
			}
			return nil
		},
	}
}
