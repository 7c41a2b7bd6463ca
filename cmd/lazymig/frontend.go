package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/lazymig/lazymig/failover"
	"github.com/lazymig/lazymig/internal/agent"
	"github.com/lazymig/lazymig/internal/migrate"
)

// frontEnd starts an engine for job, shows what it tells and returns how it
// ended, or that the user has left it.
func (a *app) frontEnd(job agent.Job, flags *sideFlags) error {
	signals := make(chan os.Signal, 4) // before the engine, so that none is lost
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	session, err := agent.Start(job)
	if err != nil {
		return failed(exitUsage, err, "run as root, or choose another --state-dir")
	}
	defer session.Close()
	f := &follower{
		app: a, vm: job.VM, stateDir: job.StateDir, json: flags.json, owner: true, dryRun: job.DryRun,
		display: newDisplay(a.err, a.terminal, flags.logFormat == "json"),
	}
	return f.follow(session, signals)
}

// follower shows what one engine tells. One goroutine uses it.
type follower struct {
	app      *app
	vm       string
	stateDir string
	json     bool
	owner    bool // Ctrl-C cancels the migration, not just the looking on
	dryRun   bool // the checks are what was asked for
	display  *display

	side      agent.Kind
	state     string
	checks    []migrate.Event
	report    *migrate.Report
	cancelled bool
}

// received is what Session.Next returned.
type received struct {
	line agent.Line
	err  error
}

// follow shows a session until it ends or the user leaves it. The caller
// closes the session.
func (f *follower) follow(session *agent.Session, signals <-chan os.Signal) error {
	lines, left := make(chan received), make(chan struct{})
	defer close(left)
	go serveLines(session, lines, left)
	for {
		select {
		case r := <-lines:
			if done, err := f.take(r); done || err != nil {
				return err
			}
		case <-signals:
			if done, err := f.interrupt(session); done || err != nil {
				return err
			}
		}
	}
}

// serveLines hands the lines of a session over until it ends or left closes.
func serveLines(session *agent.Session, lines chan<- received, left <-chan struct{}) {
	for {
		line, err := session.Next()
		select {
		case lines <- received{line, err}:
		case <-left:
			return
		}
		if err != nil {
			return
		}
	}
}

// take deals with one line. It returns true when the command is over.
func (f *follower) take(r received) (done bool, err error) {
	if errors.Is(r.err, agent.ErrDied) {
		return true, f.died(r.err)
	}
	if r.err != nil {
		return true, failed(exitStopped, fmt.Errorf("follow the engine: %w", r.err), "see `"+f.statusCommand()+"`")
	}
	switch r.line.Kind {
	case agent.LineSnapshot:
		return f.snapshot(r.line.Raw)
	case agent.LineAnswer:
		var answer agent.Answer
		if err := decode(r.line.Raw, &answer); err != nil {
			return true, err
		}
		return f.atState(answer.State)
	case agent.LineExit:
		var exit agent.Exit
		if err := decode(r.line.Raw, &exit); err != nil {
			return true, err
		}
		return true, f.finish(exit)
	}
	return f.event(r.line.Raw)
}

// decode parses a line of the engine, which is the same program.
func decode(raw []byte, v any) error {
	if err := json.Unmarshal(raw, v); err != nil {
		return failed(exitStopped, fmt.Errorf("parse what the engine says: %w", err), "was lazymig exchanged meanwhile?")
	}
	return nil
}

// snapshot catches up with what was told before this command came.
func (f *follower) snapshot(raw []byte) (done bool, err error) {
	var snapshot agent.Snapshot
	if err := decode(raw, &snapshot); err != nil {
		return true, err
	}
	f.side = snapshot.Kind
	for _, kind := range []string{migrate.EventState, migrate.EventProgress, migrate.EventReport} {
		last, ok := snapshot.Last[kind]
		if !ok {
			continue
		}
		if done, err := f.event(last); done || err != nil {
			return done, err
		}
	}
	return false, nil
}

// event shows what happened, or notes it for the end.
func (f *follower) event(raw []byte) (done bool, err error) {
	var e migrate.Event
	if err := decode(raw, &e); err != nil {
		return true, err
	}
	if f.json {
		fmt.Fprintf(f.app.out, "%s\n", raw)
	}
	switch e.Event {
	case migrate.EventState:
		if !f.json {
			f.display.state(e.State)
		}
		return f.atState(e.State)
	case migrate.EventProgress:
		if !f.json {
			f.display.progress(e)
		}
	case migrate.EventCheck:
		f.checks = append(f.checks, e)
	case migrate.EventMessage:
		if !f.json {
			f.display.say(e.Message)
		}
	case migrate.EventReport:
		f.report = e.Report
	}
	return false, nil
}

// atState notes the state. Who wanted to cancel learns here that it is too
// late.
func (f *follower) atState(state string) (done bool, err error) {
	if state != "" {
		f.state = state
	}
	if f.cancelled && handedOver(f.state) {
		return true, f.detach()
	}
	return false, nil
}

// handedOver reports whether the guest is the destination's and still needs
// the engines of both sides.
func handedOver(state string) bool {
	return state == failover.StateCeded.String() || state == failover.StateOwner.String()
}

// interrupt is Ctrl-C.
func (f *follower) interrupt(session *agent.Session) (done bool, err error) {
	switch {
	case !f.owner:
		f.display.clear()
		return true, nil
	case handedOver(f.state):
		return true, f.detach()
	case f.cancelled:
		f.display.clear()
		return true, failed(exitFailed, errors.New("left while the migration was being taken back"), "see `"+f.statusCommand()+"`")
	}
	f.cancelled = true
	if f.side == agent.KindReceive && f.state == "" {
		f.display.say("nothing has come; ending the wait")
	} else {
		f.display.say("taking the migration back; again to leave without waiting")
	}
	if err := session.Cancel(); err != nil {
		return true, failed(exitStopped, err, "see `"+f.statusCommand()+"`")
	}
	return false, nil
}

// detach leaves a migration that can only go forward.
func (f *follower) detach() error {
	f.display.say("the guest belongs to the destination already; its memory goes on moving without this command")
	f.display.say("follow it with: " + f.statusCommand() + " --follow")
	f.display.clear()
	return failed(exitPending, nil, "")
}

// statusCommand returns the command that shows this migration.
func (f *follower) statusCommand() string {
	command := "lazymig status " + f.vm
	if f.stateDir != defaultStateDir {
		command += " --state-dir " + f.stateDir
	}
	return command
}

// finish shows how a migration ended.
func (f *follower) finish(exit agent.Exit) error {
	f.display.clear()
	if !f.json {
		switch {
		case f.dryRun:
			writeChecks(f.app.out, f.checks)
		case exit.Code != exitDone:
			writeChecks(f.app.out, slices.DeleteFunc(f.checks, isPassed))
		}
		if f.report != nil && exit.Code != exitUsage {
			writeReport(f.app.out, f.side, *f.report)
		}
	}
	switch {
	case exit.Error != "":
		return failed(exit.Code, errors.New(exit.Error), exit.Hint)
	case exit.Code != exitDone:
		return failed(exit.Code, nil, "")
	}
	return nil
}

// died tells what became of the guest of an engine that died.
func (f *follower) died(err error) error {
	f.display.clear()
	code := exitFailed // the keeper lets the guest go on at the source
	dir, dirErr := migrate.VMDir(f.stateDir, f.vm)
	records, journalErr := failover.ReadJournal(dir)
	if dirErr != nil || journalErr != nil {
		code = exitStopped
	} else if n := len(records); n > 0 && (handedOver(records[n-1].State.String()) || records[n-1].State == failover.StateLoaded) {
		code = exitStopped
	}
	return failed(code, err, "see `"+f.statusCommand()+"`")
}
