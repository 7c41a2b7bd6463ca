package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/lazymig/lazymig/internal/agent"
	"github.com/lazymig/lazymig/internal/migrate"
	"github.com/spf13/cobra"
)

// cancelTimeout bounds the wait for a migration to be taken back.
const cancelTimeout = 60 * time.Second

func (a *app) cancel() *cobra.Command {
	var stateDir string
	command := &cobra.Command{
		Use:   "cancel VM",
		Short: "Take a migration back, as long as that is possible",
		Long: `Take a migration back, as long as that is possible: the guest goes on at the
source as if nothing had happened. On either host.

Exit codes: 0 taken back; 1 failed, or nothing to take back; 3 too late, the
guest belongs to the destination.`,
		Example: "  lazymig cancel web1",
		Args:    cobra.ExactArgs(1),

		ValidArgsFunction: completeVM(true),
		RunE: func(_ *cobra.Command, args []string) error {
			stateDir, err := filepath.Abs(stateDir)
			if err != nil {
				return failed(exitUsage, err, "")
			}
			return a.cancelVM(stateDir, args[0])
		},
	}
	registerStateDir(command.Flags(), &stateDir)
	return command
}

func (a *app) cancelVM(stateDir, vm string) error {
	session, err := agent.Dial(stateDir, vm)
	if errors.Is(err, agent.ErrNoEngine) {
		return failed(exitFailed, fmt.Errorf("no migration of %q is under way in %s", vm, stateDir), "`lazymig status` lists what this host knows")
	}
	if err != nil {
		return failed(exitFailed, err, "")
	}
	defer session.Close()
	slow := time.AfterFunc(cancelTimeout, func() { session.Close() })
	defer slow.Stop()
	if err := session.Cancel(); err != nil {
		return failed(exitFailed, err, "")
	}
	waited := false // for a guest of which nothing had come
	for asked := false; ; {
		line, err := session.Next()
		if err != nil {
			return failed(exitFailed, fmt.Errorf("wait for the end of the migration: %w", err), "see `lazymig status "+vm+"`")
		}
		var said struct {
			Kind  agent.Kind `json:"kind"`  // of a snapshot
			State string     `json:"state"` // of an answer, and of a state
			agent.Exit
		}
		if err := decode(line.Raw, &said); err != nil {
			return err
		}
		switch line.Kind {
		case agent.LineSnapshot:
			waited = said.Kind == agent.KindReceive
		case agent.LineAnswer:
			asked, waited = true, waited && said.State == ""
		case migrate.EventState:
			waited = false
		}
		switch {
		case line.Kind == agent.LineExit:
			return a.cancelled(vm, said.Exit, waited)
		case asked && (line.Kind == agent.LineAnswer || line.Kind == migrate.EventState) && handedOver(said.State):
			return failed(exitPending, errors.New("too late: the guest belongs to the destination"), "see `lazymig status "+vm+"`")
		}
	}
}

// cancelled tells how a migration that was to be taken back has ended.
func (a *app) cancelled(vm string, exit agent.Exit, waited bool) error {
	switch exit.Code {
	case exitFailed:
		if waited {
			fmt.Fprintf(a.out, "Nothing had come of %s; this host waits for it no more.\n", vm)
			return nil
		}
		fmt.Fprintf(a.out, "The migration of %s was taken back.\n", vm)
		return nil
	case exitDone:
		return failed(exitPending, errors.New("too late: the migration is done"), "")
	default:
		return failed(exit.Code, errors.New(exit.Error), exit.Hint)
	}
}
