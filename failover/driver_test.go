package failover

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/lazymig/lazymig"
)

// failingLog fails chosen appends and notes all that happens, in order.
type failingLog struct {
	trace []string
	fails map[State]int // how often a record of the state fails
	syncs int           // how often Sync fails
}

func (l *failingLog) Append(r Record, force bool) error {
	word := "[" + r.State.String() + "]"
	if force {
		word += "!"
	}
	if l.fails[r.State] > 0 {
		l.fails[r.State]--
		l.trace = append(l.trace, word+"?")
		return errDisk
	}
	l.trace = append(l.trace, word)
	return nil
}

func (l *failingLog) Sync() error {
	if l.syncs > 0 {
		l.syncs--
		return errDisk
	}
	return nil
}

func (l *failingLog) take() string {
	defer func() { l.trace = nil }()
	return strings.Join(l.trace, " ")
}

func testDriver(m Machine, fails map[State]int) (*Driver, *failingLog) {
	l := &failingLog{fails: fails}
	return NewDriver(m, l, func(a Action) { l.trace = append(l.trace, a.Kind.String()) }), l
}

func apply(t *testing.T, d *Driver, events ...Event) {
	t.Helper()
	for _, e := range events {
		if err := d.Apply(e, "test"); err != nil {
			t.Fatal(err)
		}
	}
}

// expect applies one event and compares its error, its trace and the state.
func expect(t *testing.T, d *Driver, l *failingLog, e Event, want error, trace string, s State) {
	t.Helper()
	l.trace = nil
	if err := d.Apply(e, "test"); !errors.Is(err, want) {
		t.Errorf("%s: error %v, want %v", e, err, want)
	}
	if got := l.take(); got != trace {
		t.Errorf("%s: does %s, want %s", e, got, trace)
	}
	if d.State() != s {
		t.Errorf("%s: state %s, want %s", e, d.State(), s)
	}
}

func TestDriverOrder(t *testing.T) {
	s, l := testDriver(NewSource(testVM, 5, true, "b"), nil)
	apply(t, s, EventBegin, EventPeerArmed, EventPeerReady, EventGuestFrozen, EventResumed, EventPeerComplete)
	if got := l.take(); got != "[PREPARING]! Freeze [FROZEN] [CEDED]! SendCommit KillVMM [RELEASED]! Release SendReleased Finish" {
		t.Error(got)
	}
	d, l := testDriver(NewDestination(testVM, 5, true, "a"), nil)
	apply(t, d, EventOffered, EventGuestArmed, EventStreamLoaded, EventCommitted, EventGuestRan, EventAllInstalled, EventPeerReleased)
	if got := l.take(); got != "[RESERVED]! Arm [ARMED] SendArmed [LOADED] SendReady [OWNER]! RunGuest SendResumed SyncJournal Release [COMPLETE]! SendComplete Finish" {
		t.Error(got)
	}
	if !s.Finished() || !d.Finished() {
		t.Error("not finished")
	}
}

func frozen(t *testing.T, fails map[State]int) (*Driver, *failingLog) {
	d, l := testDriver(NewSource(testVM, 5, true, "b"), fails)
	apply(t, d, EventBegin, EventPeerArmed, EventGuestFrozen)
	return d, l
}

func loaded(t *testing.T, fails map[State]int) (*Driver, *failingLog) {
	d, l := testDriver(NewDestination(testVM, 5, true, "a"), fails)
	apply(t, d, EventOffered, EventGuestArmed, EventStreamLoaded)
	return d, l
}

// TestCededFails: without CEDED there is no COMMIT, and the abort is forced.
func TestCededFails(t *testing.T) {
	d, l := frozen(t, map[State]int{StateCeded: 1})
	expect(t, d, l, EventPeerReady, ErrNotRecorded, "[CEDED]!? [RUNNING]! ResumeGuest SendAbort SyncJournal Reconnect", StateRunning)
	if d.Stopped() {
		t.Error("the abort is durable and the decision still in doubt")
	}
}

// TestCededInDoubt: the abort cannot be written either. The guest stays frozen,
// nothing is sent, READY is no reason to try the commit again, and a person who
// repaired the disk gets the guest back.
func TestCededInDoubt(t *testing.T) {
	d, l := frozen(t, map[State]int{StateCeded: 1, StateRunning: 6})
	expect(t, d, l, EventPeerReady, ErrStopped, "[CEDED]!? [RUNNING]!?", StateFrozen)
	if !d.Stopped() {
		t.Error("not stopped")
	}
	expect(t, d, l, EventPeerReady, ErrStopped, "[RUNNING]!? [RUNNING]!?", StateFrozen)
	expect(t, d, l, EventPeerLost, ErrStopped, "[RUNNING]!? [RUNNING]!?", StateFrozen)
	expect(t, d, l, EventCancelled, ErrNotRecorded, "[RUNNING]!? [RUNNING]! ResumeGuest SendAbort SyncJournal Reconnect", StateRunning)
	if d.Stopped() {
		t.Error("still stopped")
	}
}

func TestCededInDoubtCancelled(t *testing.T) {
	d, l := frozen(t, map[State]int{StateCeded: 1, StateRunning: 1})
	expect(t, d, l, EventPeerReady, ErrStopped, "[CEDED]!? [RUNNING]!?", StateFrozen)
	expect(t, d, l, EventCancelled, nil, "[RUNNING]! ResumeGuest SendAbort SyncJournal Reconnect", StateRunning)
}

// TestEarlyReadyCededFails: FROZEN and CEDED come of one event.
func TestEarlyReadyCededFails(t *testing.T) {
	d, l := testDriver(NewSource(testVM, 5, true, "b"), map[State]int{StateCeded: 1, StateRunning: 1})
	apply(t, d, EventBegin, EventPeerArmed, EventPeerReady)
	expect(t, d, l, EventGuestFrozen, ErrStopped, "[FROZEN] [CEDED]!? [RUNNING]!?", StatePreparing)
	expect(t, d, l, EventDeadline, nil, "[RUNNING]! ResumeGuest SendAbort SyncJournal Reconnect", StateRunning)
}

// TestOwnerFails: without OWNER the guest is not run; it is given back, or
// stands still on both hosts.
func TestOwnerFails(t *testing.T) {
	d, l := loaded(t, map[State]int{StateOwner: 1})
	expect(t, d, l, EventCommitted, ErrNotRecorded, "[OWNER]!? [RENOUNCED]! KillVMM SendRenounced", StateRenounced)
	d, l = loaded(t, map[State]int{StateOwner: 1, StateRenounced: 2})
	expect(t, d, l, EventCommitted, ErrStopped, "[OWNER]!? [RENOUNCED]!?", StateLoaded)
	expect(t, d, l, EventPeerLost, nil, "Reconnect", StateLoaded)
	expect(t, d, l, EventCommitted, ErrNotRecorded, "[RENOUNCED]!? [RENOUNCED]! KillVMM SendRenounced", StateRenounced)
}

// TestPausedOwnerFails: nothing of the handing over is left behind.
func TestPausedOwnerFails(t *testing.T) {
	m := NewDestination(testVM, 5, false, "a")
	d, l := testDriver(m, map[State]int{StateOwner: 1, StateRenounced: 1})
	apply(t, d, EventOffered, EventGuestArmed, EventStreamLoaded)
	expect(t, d, l, EventCommitted, ErrStopped, "[OWNER]!? [RENOUNCED]!?", StateLoaded)
	if m.Ran() {
		t.Error("it counts as having run")
	}
}

// TestAbortNeedsNoDisk: with nothing in doubt the guest does not wait for one.
func TestAbortNeedsNoDisk(t *testing.T) {
	d, l := frozen(t, map[State]int{StateRunning: 9})
	l.syncs = 1
	expect(t, d, l, EventPeerLost, ErrNotRecorded, "[RUNNING]? ResumeGuest SendAbort SyncJournal Reconnect", StateRunning)
	d, l = testDriver(NewDestination(testVM, 5, true, "a"), map[State]int{StateAbandoned: 9})
	apply(t, d, EventOffered)
	expect(t, d, l, EventPeerLost, ErrNotRecorded, "[ABANDONED]? KillVMM SendAbandoned Finish", StateAbandoned)
}

// TestOtherRecordsFail: one record after the other cannot be written.
func TestOtherRecordsFail(t *testing.T) {
	d, l := testDriver(NewSource(testVM, 5, true, "b"), map[State]int{StatePreparing: 1})
	expect(t, d, l, EventBegin, ErrNotRecorded, "[PREPARING]!? Finish", StateRunning)

	d, l = testDriver(NewSource(testVM, 5, true, "b"), map[State]int{StateFrozen: 1})
	apply(t, d, EventBegin, EventPeerArmed)
	expect(t, d, l, EventGuestFrozen, ErrNotRecorded, "[FROZEN]? [RUNNING] ResumeGuest SendAbort SyncJournal Reconnect", StateRunning)

	d, l = frozen(t, map[State]int{StateReleased: 1, StateRunning: 1})
	apply(t, d, EventPeerReady)
	expect(t, d, l, EventPeerComplete, ErrNotRecorded, "[RELEASED]!?", StateCeded)
	expect(t, d, l, EventRenounced, ErrNotRecorded, "[RUNNING]!?", StateCeded)
	expect(t, d, l, EventRenounced, nil, "[RUNNING]! ResumeGuest SendAbort Finish", StateRunning)

	d, l = testDriver(NewDestination(testVM, 5, true, "a"), map[State]int{StateReserved: 1})
	expect(t, d, l, EventOffered, ErrNotRecorded, "[RESERVED]!? KillVMM Finish", StateAbandoned)

	d, l = testDriver(NewDestination(testVM, 5, true, "a"), map[State]int{StateLoaded: 1})
	apply(t, d, EventOffered, EventGuestArmed)
	expect(t, d, l, EventStreamLoaded, ErrNotRecorded, "[LOADED]? [ABANDONED] KillVMM SendAbandoned Finish", StateAbandoned)

	d, l = loaded(t, map[State]int{StateRenounced: 2, StateComplete: 1})
	expect(t, d, l, EventVMMDied, ErrNotRecorded, "[RENOUNCED]!? [RENOUNCED]!?", StateLoaded)
	apply(t, d, EventCommitted, EventGuestRan)
	expect(t, d, l, EventAllInstalled, ErrNotRecorded, "Release [COMPLETE]!?", StateOwner)
	l.trace = nil
	for range 2 {
		if err := d.Retry(); err != nil {
			t.Error(err)
		}
	}
	if got := l.take(); got != "Release [COMPLETE]! SendComplete" || d.State() != StateComplete {
		t.Errorf("tried again: %s", got)
	}
}

// TestKeeperRecordFails: a restored CEDED that cannot be written again puts
// nothing in doubt: it was decided before.
func TestKeeperRecordFails(t *testing.T) {
	m := RestoreSource(Record{VM: testVM, Epoch: 5, State: StateCeded, WasRunning: true}, 5)
	d, l := testDriver(m, map[State]int{StateCeded: 1})
	expect(t, d, l, EventEngineLost, ErrNotRecorded, "[CEDED]!?", StateCeded)
	if d.Stopped() {
		t.Error("in doubt")
	}
	expect(t, d, l, EventEngineLost, nil, "[CEDED]!", StateCeded)
}

// TestMessages: messages of other epochs do nothing; repeated and late ones do
// no harm.
func TestMessages(t *testing.T) {
	d, l := loaded(t, nil)
	l.trace = nil
	for _, epoch := range []lazymig.Epoch{0, 4, 6} {
		if err := d.ApplyMessage(EventCommitted, epoch, "test"); !errors.Is(err, ErrEpoch) {
			t.Errorf("COMMIT of epoch %d: %v", epoch, err)
		}
	}
	if err := d.ApplyMessage(EventAborted, 4, "test"); !errors.Is(err, ErrEpoch) {
		t.Errorf("ABORT of epoch 4: %v", err)
	}
	if got := l.take(); got != "" {
		t.Error(got)
	}
	for range 2 {
		if err := d.ApplyMessage(EventCommitted, 5, "test"); err != nil {
			t.Error(err)
		}
	}
	if got := l.take(); got != "[OWNER]! RunGuest" {
		t.Error(got)
	}
	for _, epoch := range []lazymig.Epoch{5, 6} {
		if err := d.ApplyMessage(EventAborted, epoch, "test"); !errors.Is(err, ErrTooLate) {
			t.Errorf("ABORT of epoch %d after OWNER: %v", epoch, err)
		}
	}
	s, l := frozen(t, nil)
	apply(t, s, EventPeerReady)
	l.trace = nil
	for range 2 {
		if err := s.ApplyMessage(EventResumed, 5, "test"); err != nil {
			t.Error(err)
		}
	}
	if err := s.ApplyMessage(EventRenounced, 5, "test"); !errors.Is(err, ErrConflict) {
		t.Errorf("RENOUNCED after RESUMED: %v", err)
	}
	if err := s.ApplyMessage(EventPeerComplete, 6, "test"); !errors.Is(err, ErrEpoch) {
		t.Errorf("COMPLETE of epoch 6: %v", err)
	}
	if got := l.take(); got != "KillVMM" {
		t.Error(got)
	}
	other, _ := loaded(t, nil)
	if err := other.ApplyMessage(EventAborted, 6, "test"); err != nil || other.State() != StateAbandoned {
		t.Errorf("ABORT of a later epoch: %v %s", err, other.State())
	}
}

// TestReconnected meets every state of both sides on a new link.
func TestReconnected(t *testing.T) {
	sources := map[string]func(*testing.T) *Driver{
		"RUNNING(5)": func(t *testing.T) *Driver {
			d, _ := frozen(t, nil)
			apply(t, d, EventPeerLost)
			return d
		},
		"RUNNING(6)": func(t *testing.T) *Driver {
			d, _ := frozen(t, nil)
			apply(t, d, EventPeerReady, EventRenounced)
			return d
		},
		"CEDED(5)": func(t *testing.T) *Driver {
			d, _ := frozen(t, nil)
			apply(t, d, EventPeerReady)
			return d
		},
		"FROZEN(5)": func(t *testing.T) *Driver { d, _ := frozen(t, nil); return d },
	}
	for _, c := range []struct {
		source, peer string
		at           []Event // leads the destination there, from LOADED
		want         string  // own events, then those of the source
	}{
		{"CEDED(5)", "LOADED", nil, "; PeerReady"},
		{"CEDED(5)", "OWNER, not run", []Event{EventCommitted}, "; "},
		{"CEDED(5)", "OWNER, ran", []Event{EventCommitted, EventGuestRan}, "GuestRan; "},
		{"CEDED(5)", "COMPLETE", []Event{EventCommitted, EventGuestRan, EventAllInstalled}, "AllInstalled; PeerComplete"},
		{"CEDED(5)", "ABANDONED", []Event{EventAborted}, "; PeerAbandoned"},
		{"CEDED(5)", "RENOUNCED", []Event{EventCancelled}, "; Renounced"},
		{"RUNNING(5)", "LOADED", nil, "Aborted; PeerReady"},
		{"RUNNING(5)", "OWNER", []Event{EventCommitted}, "CONFLICT; CONFLICT"},
		{"RUNNING(5)", "COMPLETE", []Event{EventCommitted, EventGuestRan, EventAllInstalled}, "CONFLICT; CONFLICT"},
		{"RUNNING(5)", "ABANDONED", []Event{EventAborted}, "Aborted; PeerAbandoned"},
		{"RUNNING(5)", "RENOUNCED", []Event{EventCancelled}, "Aborted; Renounced"},
		{"RUNNING(6)", "LOADED", nil, "Aborted; PeerReady"},
		{"RUNNING(6)", "RENOUNCED", []Event{EventCancelled}, "Aborted; Renounced"},
		{"RUNNING(6)", "OWNER", []Event{EventCommitted}, "CONFLICT; CONFLICT"},
		{"FROZEN(5)", "LOADED", nil, "; "},
	} {
		source := sources[c.source](t)
		destination, _ := loaded(t, nil)
		apply(t, destination, c.at...)
		got := meets(destination, source) + "; " + meets(source, destination)
		if got != c.want {
			t.Errorf("%s meets %s: %s, want %s", c.source, c.peer, got, c.want)
		}
	}
}

func meets(d, peer *Driver) string {
	state, epoch := peer.Announce()
	events, err := d.machine.Announced(state, epoch)
	switch {
	case errors.Is(err, ErrConflict):
		return "CONFLICT"
	case err != nil:
		return err.Error()
	}
	var words []string
	for _, e := range events {
		words = append(words, e.String())
	}
	return strings.Join(words, " ")
}

// TestAnnouncedEpochs: a peer that speaks of another attempt.
func TestAnnouncedEpochs(t *testing.T) {
	d, _ := loaded(t, nil)
	if _, err := d.machine.Announced(StateCeded, 4); !errors.Is(err, ErrEpoch) {
		t.Errorf("an old epoch: %v", err)
	}
	if events, err := d.machine.Announced(StatePreparing, 6); err != nil || !slices.Equal(events, []Event{EventAborted}) {
		t.Errorf("a new attempt: %v %v", events, err)
	}
	if _, err := d.machine.Announced(StateReleased, 5); !errors.Is(err, ErrConflict) {
		t.Errorf("RELEASED meets LOADED: %v", err)
	}
	s, _ := frozen(t, nil)
	apply(t, s, EventPeerReady)
	for _, epoch := range []lazymig.Epoch{0, 4, 6} {
		if _, err := s.machine.Announced(StateLoaded, epoch); !errors.Is(err, ErrConflict) {
			t.Errorf("CEDED(5) meets LOADED(%d): %v", epoch, err)
		}
	}
	r, _ := frozen(t, nil)
	apply(t, r, EventCancelled)
	if events, err := r.machine.Announced(StateNone, 0); err != nil || !slices.Equal(events, []Event{EventPeerAbandoned}) {
		t.Errorf("RUNNING(5) meets a stranger: %v %v", events, err)
	}
}

// TestDriverAndJournal runs both sides on real journals, to and fro.
func TestDriverAndJournal(t *testing.T) {
	dir := t.TempDir()
	j := openJournal(t, dir)
	epoch := NextEpoch(j.Records())
	s := NewDriver(NewSource(testVM, epoch, true, "b"), j, func(Action) {})
	apply(t, s, EventBegin, EventPeerArmed, EventGuestFrozen, EventPeerReady, EventResumed, EventPeerComplete)
	epoch = NextEpoch(j.Records()) + 1 // the other host moved it on meanwhile
	if err := CheckReceive(j.Records(), testVM, epoch); err != nil {
		t.Fatal(err)
	}
	d := NewDriver(NewDestination(testVM, epoch, true, "b"), j, func(Action) {})
	apply(t, d, EventOffered, EventGuestArmed, EventStreamLoaded, EventCommitted, EventGuestRan, EventAllInstalled, EventPeerReleased)
	var states []string
	for _, r := range j.Records() {
		states = append(states, r.State.String())
	}
	if got := strings.Join(states, " "); got != "PREPARING FROZEN CEDED RELEASED RESERVED ARMED LOADED OWNER COMPLETE" {
		t.Error(got)
	}
	if last, _ := j.Last(); last.Epoch != 3 || last.Reason != "test" || !last.WasRunning || last.Peer != "b" {
		t.Errorf("%+v", last)
	}
}
