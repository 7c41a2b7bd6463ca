package main

import (
	"github.com/lazymig/lazymig/internal/agent"
	"github.com/lazymig/lazymig/internal/migrate"
	"github.com/spf13/cobra"
)

// engine and keeper are the commands by which lazymig starts itself again. The
// argument is the VM's name, for people who look at a list of processes.

func (a *app) engine() *cobra.Command {
	return &cobra.Command{
		Use: "engine VM", Hidden: true, Args: cobra.MaximumNArgs(1),
		RunE: func(*cobra.Command, []string) error { return ended(agent.Engine(agent.Migrate)) },
	}
}

func (a *app) keeper() *cobra.Command {
	return &cobra.Command{
		Use: "keeper VM", Hidden: true, Args: cobra.MaximumNArgs(1),
		RunE: func(*cobra.Command, []string) error { return ended(agent.Keeper(migrate.Keep)) },
	}
}

// ended passes an exit code on.
func ended(code int) error {
	if code == exitDone {
		return nil
	}
	return failed(code, nil, "")
}
