package failover

import "fmt"

// State is the state of one attempt to move a guest, on one side of it. The
// numbers are part of the journal and of the protocol and never change.
type State uint8

// The states. Source: None, Preparing, Frozen, Ceded, Released, Running.
// Destination: None, Reserved, Armed, Loaded, Owner, Complete, Abandoned,
// Renounced.
const (
	// StateNone is an attempt of which nothing has been recorded.
	StateNone State = iota
	// StateRunning: the attempt is over and the guest belongs to the source.
	StateRunning
	// StatePreparing: the guest at the source may have been touched.
	StatePreparing
	// StateFrozen: the guest stands still at the source, undecided.
	StateFrozen
	// StateCeded: the guest belongs to the destination. The commit point.
	StateCeded
	// StateReleased: the destination has everything; the source is empty.
	StateReleased
	// StateReserved: the destination has taken the epoch.
	StateReserved
	// StateArmed: page faults of the destination's VMM are served.
	StateArmed
	// StateLoaded: the device state is in; only the source decides now.
	StateLoaded
	// StateOwner: the guest runs at the destination, or is about to.
	StateOwner
	// StateComplete: the destination needs nothing from the source any more.
	StateComplete
	// StateAbandoned: the destination gave up before the commit, or on abort.
	StateAbandoned
	// StateRenounced: the destination has not run this epoch and never will.
	StateRenounced
	stateCount
)

var stateNames = [stateCount]string{
	"NONE", "RUNNING", "PREPARING", "FROZEN", "CEDED", "RELEASED", "RESERVED",
	"ARMED", "LOADED", "OWNER", "COMPLETE", "ABANDONED", "RENOUNCED",
}

// String returns the name of the state as the documentation writes it.
func (s State) String() string {
	if s >= stateCount {
		return fmt.Sprintf("STATE(%d)", uint8(s))
	}
	return stateNames[s]
}
