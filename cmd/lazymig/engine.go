package main

import (
	"github.com/lazymig/lazymig/internal/agent"
	"github.com/lazymig/lazymig/internal/migrate"
	"github.com/spf13/cobra"
)

// engine and keeper are the commands by which lazymig starts itself again. The
// argument is the VM's name, for people who look at a list of processes.

func (a *app) engine() *cobra.Command {
	return a.hidden("engine VM", func() int { return agent.Engine(agent.Migrate) })
}

func (a *app) keeper() *cobra.Command {
	return a.hidden("keeper VM", func() int { return agent.Keeper(migrate.Keep) })
}

// hidden returns a command that is not for people.
func (a *app) hidden(use string, work func() int) *cobra.Command {
	var logFormat string
	command := &cobra.Command{
		Use: use, Hidden: true, Args: cobra.MaximumNArgs(1),
		RunE: func(*cobra.Command, []string) error {
			agent.SetLogFormat(logFormat)
			return ended(work())
		},
	}
	command.Flags().StringVar(&logFormat, "log-format", "text", "write the log as `text|json`")
	return command
}

// ended passes an exit code on.
func ended(code int) error {
	if code == exitDone {
		return nil
	}
	return failed(code, nil, "")
}
