package failover

import (
	"fmt"

	"github.com/lazymig/lazymig"
)

// Source is the machine of the host that the guest leaves:
//
//	       Begin            GuestFrozen          PeerReady           PeerComplete
//	NONE ────────▶ PREPARING ────────▶ FROZEN ══════════▶ CEDED ──────────────▶ RELEASED
//	                   │                  │      commit     │
//	                   └───── abort ──────┤      point      │ Renounced, durable at the
//	                                      ▼                 │ destination
//	                              RUNNING, epoch e          ▼
//	                                               RUNNING, epoch e+1
//
//	Who moves what: Step alone moves the state, one event at a time, for the one
//	goroutine that owns the Driver.
//	NONE → PREPARING     the engine, before it touches the guest
//	PREPARING → FROZEN   the engine, when the VMM is stopped by SIGSTOP
//	FROZEN → CEDED       READY of the destination, and nobody else
//	→ RUNNING(e)         link lost, deadline, failure, cancel, a keeper, the
//	                     destination: anything, as long as it is not CEDED
//	CEDED → RUNNING(e+1) RENOUNCED of the destination, and nobody else
//	CEDED → RELEASED     COMPLETE of the destination, and nobody else
//
// In RUNNING it may still wait for the destination to confirm that it knows of
// the abort: one that is LOADED holds a stalled guest until it does.
type Source struct {
	vm         lazymig.VMID
	epoch      lazymig.Epoch // of the attempt, also when it was taken back
	peer       string
	wasRunning bool

	state    State
	freezing bool // Freeze was asked for: the destination may come to LOADED
	ready    bool // READY came before GuestFrozen
	resumed  bool // the destination has run the guest
	tookBack bool // RUNNING is epoch+1
	vmmDead  bool
	finished bool
}

// NewSource returns the machine of a new attempt. epoch is NextEpoch of the
// journal; wasRunning is false for a guest that is paused and stays so.
func NewSource(vm lazymig.VMID, epoch lazymig.Epoch, wasRunning bool, peer string) *Source {
	return &Source{vm: vm, epoch: epoch, wasRunning: wasRunning, peer: peer}
}

// State returns where the attempt is.
func (m *Source) State() State { return m.state }

// Epoch returns the attempt's epoch, for messages.
func (m *Source) Epoch() lazymig.Epoch { return m.epoch }

// Finished reports whether ActionFinish was returned.
func (m *Source) Finished() bool { return m.finished }

// Step takes one event and returns what is to be done, in order. reason says to
// people why it happened. The error wraps ErrUnexpected, ErrTooLate or
// ErrConflict; then nothing has changed.
func (m *Source) Step(e Event, reason string) ([]Action, error) {
	actions, err := sourceRules[m.state].step(m, e, reason)
	if err != nil {
		return nil, fmt.Errorf("source in %s of epoch %d takes %s (%s): %w", m.state, m.epoch, e, reason, err)
	}
	return actions, nil
}

// CheckEpoch returns an error that wraps ErrEpoch if the message behind e is
// not of this attempt.
func (m *Source) CheckEpoch(e Event, epoch lazymig.Epoch) error {
	if epoch != m.epoch {
		return fmt.Errorf("source of epoch %d takes %s of epoch %d: %w", m.epoch, e, epoch, ErrEpoch)
	}
	return nil
}

func (m *Source) save() (undo func()) {
	saved := *m
	return func() { *m = saved }
}

// record moves to state s and returns the action that writes it down.
func (m *Source) record(s State, force bool, reason string) Action {
	m.state = s
	epoch := m.epoch
	if m.tookBack {
		epoch++
	}
	return Action{Kind: ActionRecord, Epoch: m.epoch, Force: force, Reason: reason, Record: Record{
		VM: m.vm, Epoch: epoch, State: s, Peer: m.peer, WasRunning: m.wasRunning, Reason: reason,
	}}
}

func (m *Source) action(kind ActionKind, reason string) Action {
	return Action{Kind: kind, Epoch: m.epoch, Reason: reason}
}

func (m *Source) finish(reason string) Action {
	m.finished = true
	return m.action(ActionFinish, reason)
}
