package failover

import (
	"fmt"

	"github.com/lazymig/lazymig"
)

// Destination is the machine of the host that the guest comes to:
//
//	       Offered         GuestArmed        StreamLoaded        Committed        AllInstalled
//	NONE ────────▶ RESERVED ───────▶ ARMED ─────────▶ LOADED ════════▶ OWNER ─────────────▶ COMPLETE
//	                   │               │                 │ │             │
//	                   └──── freely ───┤     Aborted     │ │ own wish,   │ RunFailed, and no
//	                                   ▼  of the source  │ │ VMM died    │ RESUME was seen
//	                               ABANDONED ◀───────────┘ ▼             ▼
//	                                   └──────────────▶ RENOUNCED ◀──────┘
//	                                       Committed
//
//	Who moves what: Step alone moves the state, one event at a time, for the one
//	goroutine that owns the Driver.
//	NONE → … → LOADED     the engine, as the VMM gets ready
//	RESERVED, ARMED → ABANDONED  anybody, at any time: nothing was promised
//	LOADED → OWNER        COMMIT of the source, and nobody else
//	LOADED → ABANDONED    ABORT of the source, and nobody else
//	LOADED → RENOUNCED    the engine (VMM died, cancel, failure), or the keeper
//	                      that gets COMMIT in the engine's place
//	OWNER → RENOUNCED     the process that wrote OWNER and saw no RESUME
//	OWNER → COMPLETE      the engine: every page is in, or the guest has ended
//	RESERVED, ARMED, ABANDONED → RENOUNCED  COMMIT that finds the restored
//	                      machine of a host that went down and lost LOADED
//
// LOADED knows no deadline: only the source knows whether it has committed.
type Destination struct {
	vm         lazymig.VMID
	epoch      lazymig.Epoch
	peer       string
	wasRunning bool

	state      State
	ran        bool // RESUME was seen, or must be assumed
	engineLost bool // restored by a keeper, which cannot serve pages
	vmmDead    bool
	finished   bool
}

// NewDestination returns the machine of a new attempt. epoch and vm are the
// source's and passed CheckReceive; wasRunning is false for a guest that was
// paused at the source and stays so.
func NewDestination(vm lazymig.VMID, epoch lazymig.Epoch, wasRunning bool, peer string) *Destination {
	return &Destination{vm: vm, epoch: epoch, wasRunning: wasRunning, peer: peer}
}

// State returns where the attempt is.
func (m *Destination) State() State { return m.state }

// Epoch returns the attempt's epoch, for messages.
func (m *Destination) Epoch() lazymig.Epoch { return m.epoch }

// Finished reports whether ActionFinish was returned.
func (m *Destination) Finished() bool { return m.finished }

// Ran reports whether the guest has run here, or has been handed over paused.
func (m *Destination) Ran() bool { return m.ran }

// Step takes one event and returns what is to be done, in order. reason says to
// people why it happened. The error wraps ErrUnexpected, ErrTooLate or
// ErrConflict; then nothing has changed.
func (m *Destination) Step(e Event, reason string) ([]Action, error) {
	actions, err := destinationRules[m.state].step(m, e, reason)
	if err != nil {
		return nil, fmt.Errorf("destination in %s of epoch %d takes %s (%s): %w", m.state, m.epoch, e, reason, err)
	}
	return actions, nil
}

// CheckEpoch returns an error that wraps ErrEpoch if the message behind e is
// not of this attempt. An abort of a later epoch covers this one.
func (m *Destination) CheckEpoch(e Event, epoch lazymig.Epoch) error {
	if epoch == m.epoch || e == EventAborted && epoch > m.epoch {
		return nil
	}
	return fmt.Errorf("destination of epoch %d takes %s of epoch %d: %w", m.epoch, e, epoch, ErrEpoch)
}

func (m *Destination) save() (undo func()) {
	saved := *m
	return func() { *m = saved }
}

// record moves to state s and returns the action that writes it down.
func (m *Destination) record(s State, force bool, reason string) Action {
	m.state = s
	return Action{Kind: ActionRecord, Epoch: m.epoch, Force: force, Reason: reason, Record: Record{
		VM: m.vm, Epoch: m.epoch, State: s, Peer: m.peer, WasRunning: m.wasRunning, Reason: reason,
	}}
}

func (m *Destination) action(kind ActionKind, reason string) Action {
	return Action{Kind: kind, Epoch: m.epoch, Reason: reason}
}

func (m *Destination) finish(reason string) Action {
	m.finished = true
	return m.action(ActionFinish, reason)
}
