package failover

import (
	"fmt"

	"github.com/lazymig/lazymig"
)

// After a link was made anew each side announces its state and epoch in its
// first message, and Announced turns what the peer announced into events:
//
//	source          destination                 comes of it
//	CEDED(e)        RESERVED … LOADED(e),       the source sends COMMIT again; all
//	                ABANDONED(e)                but a living LOADED renounce
//	CEDED(e)        OWNER(e), has run           the destination says RESUMED again
//	CEDED(e)        COMPLETE(e)                 the source releases
//	CEDED(e)        RENOUNCED(e)                the source takes the guest back
//	RUNNING(e), or  RESERVED … LOADED(e),       the destination drops it, the
//	any above e     ABANDONED(e), RENOUNCED(e)  source learns that it knows
//	RUNNING(e)      another epoch, or nothing   nothing is left there: the end
//	RELEASED(e)     COMPLETE(e)                 the end
//	RUNNING(e)      OWNER(e), COMPLETE(e)       ErrConflict, on both sides
//	CEDED(e)        another epoch, or nothing   ErrConflict, at the source

// Announce returns what the source says of itself. After it took the guest
// back that is the next epoch, which ends the attempt's own everywhere.
func (m *Source) Announce() (State, lazymig.Epoch) {
	if m.tookBack {
		return m.state, m.epoch + 1
	}
	return m.state, m.epoch
}

// Announce returns what the destination says of itself.
func (m *Destination) Announce() (State, lazymig.Epoch) { return m.state, m.epoch }

// meeting is the state of this side and the one that the peer announced.
type meeting struct{ own, peer State }

// sourceMeets holds the events of a peer that announces the attempt's epoch.
var sourceMeets = map[meeting][]Event{
	{StateCeded, StateReserved}:    {EventPeerReady},
	{StateCeded, StateArmed}:       {EventPeerReady},
	{StateCeded, StateLoaded}:      {EventPeerReady},
	{StateCeded, StateAbandoned}:   {EventPeerAbandoned},
	{StateCeded, StateRenounced}:   {EventRenounced},
	{StateCeded, StateOwner}:       {},
	{StateCeded, StateComplete}:    {EventPeerComplete},
	{StateRunning, StateNone}:      {EventPeerAbandoned},
	{StateRunning, StateReserved}:  {EventPeerReady},
	{StateRunning, StateArmed}:     {EventPeerReady},
	{StateRunning, StateLoaded}:    {EventPeerReady},
	{StateRunning, StateAbandoned}: {EventPeerAbandoned},
	{StateRunning, StateRenounced}: {EventRenounced},
	{StateReleased, StateComplete}: {EventPeerComplete},
}

// Announced returns the events that follow from what the destination announced
// on a new link. It changes nothing. The error wraps ErrConflict. Before the
// decision there is nothing to compare: a lost link is the end of the attempt.
func (m *Source) Announced(peer State, epoch lazymig.Epoch) ([]Event, error) {
	if m.state == StateNone || m.state == StatePreparing || m.state == StateFrozen {
		return nil, nil
	}
	if m.state == StateRunning && epoch != m.epoch {
		return []Event{EventPeerAbandoned}, nil
	}
	events, ok := sourceMeets[meeting{m.state, peer}]
	if !ok || epoch != m.epoch {
		return nil, fmt.Errorf("source in %s of epoch %d meets %s of epoch %d: %w", m.state, m.epoch, peer, epoch, ErrConflict)
	}
	return events, nil
}

// destinationMeets holds the events of a peer that announces the attempt's
// epoch and has not given it up. COMMIT follows by itself where it is needed.
var destinationMeets = map[meeting][]Event{
	{StateReserved, StateCeded}:    {},
	{StateArmed, StateCeded}:       {},
	{StateLoaded, StateCeded}:      {},
	{StateOwner, StateCeded}:       {EventGuestRan},
	{StateComplete, StateCeded}:    {EventAllInstalled},
	{StateAbandoned, StateCeded}:   {},
	{StateRenounced, StateCeded}:   {},
	{StateComplete, StateReleased}: {EventPeerReleased},
}

// Announced returns the events that follow from what the source announced on a
// new link. It changes nothing. The error wraps ErrConflict, or ErrEpoch for an
// epoch below the attempt's.
func (m *Destination) Announced(peer State, epoch lazymig.Epoch) ([]Event, error) {
	events, err := m.meet(peer, epoch)
	if err != nil {
		return nil, fmt.Errorf("destination in %s of epoch %d meets %s of epoch %d: %w", m.state, m.epoch, peer, epoch, err)
	}
	return events, nil
}

func (m *Destination) meet(peer State, epoch lazymig.Epoch) ([]Event, error) {
	if epoch < m.epoch {
		return nil, ErrEpoch
	}
	if epoch > m.epoch || peer == StateRunning {
		if m.state == StateOwner || m.state == StateComplete {
			return nil, ErrConflict
		}
		return []Event{EventAborted}, nil
	}
	if peer == StateNone || peer == StatePreparing || peer == StateFrozen || m.state == StateOwner && !m.ran {
		return nil, nil
	}
	events, ok := destinationMeets[meeting{m.state, peer}]
	if !ok {
		return nil, ErrConflict
	}
	return events, nil
}
