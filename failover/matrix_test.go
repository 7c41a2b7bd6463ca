package failover

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lazymig/lazymig"
)

var update = flag.Bool("update", false, "write the matrices in testdata anew, for review")

var testVM = lazymig.VMID{7}

// path leads a new machine to a place: a state and what it remembers.
type path struct {
	name   string
	events []Event
}

var sourcePaths = []path{
	{"new", nil},
	{"begun", []Event{EventBegin}},
	{"freezing", []Event{EventBegin, EventPeerArmed}},
	{"freezing, peer ready", []Event{EventBegin, EventPeerArmed, EventPeerReady}},
	{"frozen", []Event{EventBegin, EventPeerArmed, EventGuestFrozen}},
	{"ceded", []Event{EventBegin, EventPeerArmed, EventGuestFrozen, EventPeerReady}},
	{"ceded, peer runs", []Event{EventBegin, EventPeerArmed, EventGuestFrozen, EventPeerReady, EventResumed}},
	{"ceded, VMM dead", []Event{EventBegin, EventPeerArmed, EventGuestFrozen, EventPeerReady, EventVMMDied}},
	{"aborted, unconfirmed", []Event{EventBegin, EventPeerArmed, EventGuestFrozen, EventPeerLost}},
	{"aborted, VMM dead", []Event{EventBegin, EventPeerArmed, EventGuestFrozen, EventVMMDied}},
	{"aborted, finished", []Event{EventBegin, EventCancelled}},
	{"taken back", []Event{EventBegin, EventPeerArmed, EventGuestFrozen, EventPeerReady, EventRenounced}},
	{"released", []Event{EventBegin, EventPeerArmed, EventGuestFrozen, EventPeerReady, EventPeerComplete}},
}

var destinationPaths = []path{
	{"new", nil},
	{"reserved", []Event{EventOffered}},
	{"armed", []Event{EventOffered, EventGuestArmed}},
	{"loaded", []Event{EventOffered, EventGuestArmed, EventStreamLoaded}},
	{"owner, not run", []Event{EventOffered, EventGuestArmed, EventStreamLoaded, EventCommitted}},
	{"owner, ran", []Event{EventOffered, EventGuestArmed, EventStreamLoaded, EventCommitted, EventGuestRan}},
	{"complete", []Event{EventOffered, EventGuestArmed, EventStreamLoaded, EventCommitted, EventGuestRan, EventAllInstalled}},
	{"complete, finished", []Event{EventOffered, EventGuestArmed, EventStreamLoaded, EventCommitted, EventGuestRan, EventAllInstalled, EventPeerReleased}},
	{"abandoned", []Event{EventOffered, EventCancelled}},
	{"renounced", []Event{EventOffered, EventGuestArmed, EventStreamLoaded, EventCancelled}},
	{"renounced, finished", []Event{EventOffered, EventGuestArmed, EventStreamLoaded, EventCancelled, EventAborted}},
}

func goTo(t *testing.T, m Machine, events []Event) {
	t.Helper()
	for _, e := range events {
		if _, err := m.Step(e, "path"); err != nil {
			t.Fatal(err)
		}
	}
}

// TestMatrix takes every event at every place of both machines and compares
// all that comes of it with a reviewed table. A missing row is ErrUnexpected.
func TestMatrix(t *testing.T) {
	for _, side := range []struct {
		name    string
		machine func() Machine
		restore func(Record) Machine
		paths   []path
		states  []State
	}{
		{
			"source", func() Machine { return NewSource(testVM, 5, true, "b") },
			func(r Record) Machine { return RestoreSource(r, 5) }, sourcePaths,
			[]State{StateNone, StatePreparing, StateFrozen, StateCeded, StateRunning, StateReleased},
		},
		{
			"destination", func() Machine { return NewDestination(testVM, 5, true, "a") },
			func(r Record) Machine { return RestoreDestination(r, 5) }, destinationPaths,
			[]State{StateNone, StateReserved, StateArmed, StateLoaded, StateOwner, StateComplete, StateAbandoned, StateRenounced},
		},
	} {
		t.Run(side.name, func(t *testing.T) {
			var b strings.Builder
			for _, p := range side.paths {
				place(t, &b, p.name, func() Machine {
					m := side.machine()
					goTo(t, m, p.events)
					return m
				})
			}
			for _, s := range side.states {
				place(t, &b, "restored", func() Machine {
					return side.restore(Record{VM: testVM, Epoch: 5, State: s, WasRunning: true})
				})
			}
			compare(t, filepath.Join("testdata", side.name+".matrix"), b.String())
		})
	}
}

// place writes one block of the matrix: all events at one place.
func place(t *testing.T, b *strings.Builder, name string, at func() Machine) {
	t.Helper()
	fmt.Fprintf(b, "%s (%s)\n", at().State(), name)
	for e := range eventCount {
		m := at()
		before := fmt.Sprintf("%+v", m)
		actions, err := m.Step(e, "why")
		if err != nil && (fmt.Sprintf("%+v", m) != before || len(actions) > 0) {
			t.Errorf("%s: %s is refused and still changes the machine", name, e)
		}
		if line := describe(m, actions, err); line != "" {
			fmt.Fprintf(b, "  %-22s %s\n", e, line)
		}
	}
}

func describe(m Machine, actions []Action, err error) string {
	switch {
	case errors.Is(err, ErrUnexpected):
		return ""
	case errors.Is(err, ErrTooLate):
		return "too late"
	case errors.Is(err, ErrConflict):
		return "CONFLICT"
	}
	words := []string{"→", m.State().String() + ":"}
	for _, a := range actions {
		word := a.Kind.String()
		if a.Kind == ActionRecord {
			word = fmt.Sprintf("[%s(%d)]", a.Record.State, a.Record.Epoch)
		}
		if a.Force {
			word += "!"
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

func compare(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; run with -update and review the difference. Now it is:\n%s", path, got)
	}
}

// TestOutOfRange: numbers that no version knows are errors, not panics.
func TestOutOfRange(t *testing.T) {
	for _, m := range []Machine{NewSource(testVM, 5, true, "b"), NewDestination(testVM, 5, true, "a")} {
		if _, err := m.Step(eventCount, "?"); !errors.Is(err, ErrUnexpected) {
			t.Errorf("Step: %v", err)
		}
	}
	for s := range State(255) {
		if _, err := NewSource(testVM, 5, true, "").Announced(s, 5); err != nil {
			t.Errorf("a source without history refuses %s: %v", s, err)
		}
		RestoreSource(Record{State: s, Epoch: 5}, 5)
		RestoreDestination(Record{State: s, Epoch: 5}, 5)
	}
}

// TestPausedGuest: a paused guest is handed over without being run.
func TestPausedGuest(t *testing.T) {
	m := NewDestination(testVM, 5, false, "a")
	goTo(t, m, []Event{EventOffered, EventGuestArmed, EventStreamLoaded})
	actions, err := m.Step(EventCommitted, "why")
	if got := describe(m, actions, err); got != "→ OWNER: [OWNER(5)]! SendResumed SyncJournal" {
		t.Error(got)
	}
	if actions[0].Record.WasRunning {
		t.Error("the record says that the guest was running")
	}
	if !m.Ran() {
		t.Error("a handed over guest may run at any time")
	}
}

// TestRestoreOtherAttempt: records of other attempts are not this one's.
func TestRestoreOtherAttempt(t *testing.T) {
	for _, r := range []Record{{}, {State: StateComplete, Epoch: 4}, {State: StateReleased, Epoch: 4}, {State: StatePreparing, Epoch: 6}} {
		if m := RestoreSource(r, 5); m.State() != StateNone {
			t.Errorf("source takes %s(%d) for its own", r.State, r.Epoch)
		}
		m := RestoreDestination(r, 5)
		actions, err := m.Step(EventEngineLost, "why")
		if got := describe(m, actions, err); got != "→ ABANDONED: KillVMM Finish" {
			t.Errorf("destination with %s(%d): %s", r.State, r.Epoch, got)
		}
	}
	m := RestoreSource(Record{VM: testVM, State: StateRunning, Epoch: 6}, 5)
	actions, err := m.Step(EventEngineLost, "why")
	if got := describe(m, actions, err); got != "→ RUNNING: [RUNNING(6)]! ResumeGuest Finish" {
		t.Error("taken back:", got)
	}
}
