package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/lazymig/lazymig/failover"
	"github.com/lazymig/lazymig/internal/agent"
	"github.com/lazymig/lazymig/internal/migrate"
	"github.com/spf13/cobra"
)

// answerTimeout bounds the wait for an engine that is there but hangs.
const answerTimeout = 5 * time.Second

// vmStatus is what this host knows of one VM.
type vmStatus struct {
	VM     string    `json:"vm"`
	State  string    `json:"state"` // of the journal; "NONE" without one
	Epoch  uint64    `json:"epoch,omitempty"`
	Since  time.Time `json:"since,omitzero"`
	Peer   string    `json:"peer,omitempty"`
	Reason string    `json:"reason,omitempty"`
	// Summary says what that means, Next what can be done safely.
	Summary string          `json:"summary"`
	Next    string          `json:"next"`
	Engine  *agent.Snapshot `json:"engine,omitempty"`
}

func (a *app) status() *cobra.Command {
	var (
		stateDir       string
		asJSON, follow bool
	)
	command := &cobra.Command{
		Use:   "status [VM]",
		Short: "Show where a guest is, and what is safe to do next",
		Long: `Show where a guest is, as far as this host knows, and what is safe to do next.
Without a name: all guests that this host has sent or received.`,
		Example: `  lazymig status
  lazymig status web1
  lazymig status web1 --follow`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeVM(false),
		RunE: func(_ *cobra.Command, args []string) error {
			if follow && len(args) == 0 {
				return usage("", "--follow needs the name of a VM")
			}
			stateDir, err := filepath.Abs(stateDir)
			switch {
			case err != nil:
				return failed(exitUsage, err, "")
			case len(args) == 0:
				return a.statusOfAll(stateDir, asJSON)
			case follow:
				return a.followVM(stateDir, args[0], asJSON)
			default:
				return a.statusOf(stateDir, args[0], asJSON)
			}
		},
	}
	set := command.Flags()
	registerStateDir(set, &stateDir)
	registerJSON(set, &asJSON)
	set.BoolVar(&follow, "follow", false, "go on showing a migration until it ends")
	return command
}

// statusOfAll shows every VM that has left something in the state directory.
func (a *app) statusOfAll(stateDir string, asJSON bool) error {
	entries, err := os.ReadDir(filepath.Join(stateDir, "vm"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return failed(exitFailed, err, "run as root, or choose another --state-dir")
	}
	shown := 0
	for _, entry := range entries {
		if !entry.IsDir() {
			continue
		}
		s, known, err := readStatus(stateDir, entry.Name())
		if err != nil {
			a.complain(fmt.Errorf("%s: %w", entry.Name(), err), hintOf(err))
			continue
		}
		if known {
			shown++
			if err := a.showStatus(s, asJSON); err != nil {
				return err
			}
		}
	}
	if shown == 0 && !asJSON {
		fmt.Fprintf(a.out, "No guest has been sent or received here (%s).\n", stateDir)
	}
	return nil
}

func (a *app) statusOf(stateDir, vm string, asJSON bool) error {
	s, known, err := readStatus(stateDir, vm)
	if err != nil {
		return failed(exitFailed, err, "")
	}
	if !known {
		return unknownVM(stateDir, vm)
	}
	return a.showStatus(s, asJSON)
}

func unknownVM(stateDir, vm string) error {
	return failed(exitFailed, fmt.Errorf("nothing is known of a VM %q in %s", vm, stateDir), "`lazymig status` lists all; is --state-dir the one of send or receive?")
}

// followVM shows a migration that another front end has started.
func (a *app) followVM(stateDir, vm string, asJSON bool) error {
	session, err := agent.Dial(stateDir, vm)
	if errors.Is(err, agent.ErrNoEngine) {
		return a.statusOf(stateDir, vm, asJSON)
	}
	if err != nil {
		return failed(exitFailed, err, "")
	}
	defer session.Close()
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	f := &follower{app: a, vm: vm, stateDir: stateDir, json: asJSON, display: newDisplay(a.err, a.terminal, false)}
	return f.follow(session, signals)
}

// readStatus asks the VM's engine, if there is one, and its journal. known is
// false if neither knows anything.
func readStatus(stateDir, vm string) (s vmStatus, known bool, err error) {
	dir, err := migrate.VMDir(stateDir, vm)
	if err != nil {
		return s, false, err
	}
	snapshot, err := askEngine(stateDir, vm)
	if err != nil {
		return s, false, err
	}
	records, err := failover.ReadJournal(dir)
	if err != nil {
		return s, false, err
	}
	s = vmStatus{VM: vm, State: failover.StateNone.String(), Engine: snapshot}
	var last failover.Record
	if len(records) > 0 {
		last = records[len(records)-1]
		s.State, s.Epoch, s.Since = last.State.String(), uint64(last.Epoch), last.Time
		s.Peer, s.Reason = last.Peer, last.Reason
	}
	s.Summary, s.Next = explain(vm, last, snapshot)
	return s, snapshot != nil || len(records) > 0, nil
}

// askEngine returns the snapshot of a VM's engine, nil if there is none.
func askEngine(stateDir, vm string) (*agent.Snapshot, error) {
	session, err := agent.Dial(stateDir, vm)
	if errors.Is(err, agent.ErrNoEngine) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer session.Close()
	slow := time.AfterFunc(answerTimeout, func() { session.Close() })
	defer slow.Stop()
	line, err := session.Next()
	if errors.Is(err, agent.ErrDied) {
		return nil, nil // meanwhile
	}
	if err != nil {
		return nil, fmt.Errorf("ask the engine: %w", err)
	}
	var snapshot agent.Snapshot
	if err := json.Unmarshal(line.Raw, &snapshot); err != nil {
		return nil, fmt.Errorf("parse what the engine says: %w", err)
	}
	return &snapshot, nil
}

// showStatus prints a status, for people or as JSON.
func (a *app) showStatus(s vmStatus, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(a.out).Encode(s)
	}
	a.showField("", s.VM+": "+s.Summary)
	if s.Epoch != 0 {
		a.showField("  state   ", fmt.Sprintf("%s (%s), epoch %d, since %s", phraseOf(s.State).label, s.State, s.Epoch, s.Since.Local().Format(time.DateTime)))
	}
	if s.Reason != "" {
		a.showField("  reason  ", s.Reason)
	}
	if e := s.Engine; e != nil {
		a.showField("  engine  ", fmt.Sprintf("lazymig %s, pid %d, since %s", e.Kind, e.PID, e.Started.Local().Format(time.DateTime)))
		if line := progressLine(*e); line != "" {
			a.showField("  pages   ", line)
		}
	}
	a.showField("  next    ", s.Next)
	return nil
}

// showField prints text behind a label, in as many lines as it needs.
func (a *app) showField(label, text string) {
	for _, line := range wrap(text, lineWidth-len(label)) {
		fmt.Fprintln(a.out, label+line)
		label = strings.Repeat(" ", len(label))
	}
}
