package failover

import "github.com/lazymig/lazymig"

// A keeper takes over when the engine beside it has died: it locks the journal,
// restores the machine from the last record, and takes EventEngineLost as the
// first event. What comes of it:
//
//	source       NONE                  nothing was touched: the end
//	             PREPARING, FROZEN     abort: the guest runs here
//	             RUNNING               the guest runs here
//	             CEDED                 it stays frozen
//	             RELEASED              what is left is removed
//	destination  NONE                  kill the unused VMM
//	             RESERVED, ARMED       kill the VMM: ABANDONED
//	             LOADED                it stays stalled until the source decides:
//	                                   Aborted kills it; Committed makes the
//	                                   keeper kill it and renounce, for it cannot
//	                                   serve pages, and OWNER was never written
//	             OWNER                 it stays stalled; it counts as having run
//	             COMPLETE              the guest needs nobody; the source is told
//	             ABANDONED             kill the VMM
//	             RENOUNCED             kill the VMM; the source is told
//
// A keeper has no link, and takes none, before ActionReconnect asks for it: the
// last record may have been written but not forced, so a decision is recorded
// again before anybody hears of it. If that fails (ErrNotRecorded) the keeper
// goes on with Driver.Retry. It does nothing at all for an engine whose
// driver was Stopped.
//
// A receive that is started again may find the source of its last record still
// in CEDED, when that calls. It takes no EventEngineLost: it syncs the journal,
// restores the machine, kills what is left of the old VMM unless the record is
// OWNER or COMPLETE, and lets the two sides meet (Reconnected). COMMIT then
// becomes RENOUNCED; OWNER counts as having run.

// RestoreSource returns the machine of the attempt with the given epoch as the
// last record of the journal has it: in StateNone if the attempt has left no
// record. The zero Record stands for an empty journal.
func RestoreSource(last Record, epoch lazymig.Epoch) *Source {
	m := NewSource(last.VM, epoch, last.WasRunning, last.Peer)
	m.tookBack = last.State == StateRunning && last.Epoch == epoch+1
	if last.Epoch != epoch && !m.tookBack || len(sourceRules[last.State]) == 0 {
		return m
	}
	m.state = last.State
	m.freezing = true // the engine may have asked for it
	return m
}

// RestoreDestination is RestoreSource for the other side.
func RestoreDestination(last Record, epoch lazymig.Epoch) *Destination {
	m := NewDestination(last.VM, epoch, last.WasRunning, last.Peer)
	if last.Epoch != epoch || len(destinationRules[last.State]) == 0 {
		return m
	}
	m.state = last.State
	m.engineLost = true
	m.ran = last.State == StateOwner || last.State == StateComplete
	return m
}
