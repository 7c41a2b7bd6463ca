package failover

import "fmt"

// Event is something that happened to an attempt: a message of the peer, an
// answer of the VMM, a failure, a deadline or the wish of a person.
type Event uint8

const (
	// EventBegin (source): a move starts. The guest has not been touched.
	EventBegin Event = iota
	// EventPeerArmed (source): the destination's verdict was OK.
	EventPeerArmed
	// EventGuestFrozen (source): the VMM has sent the whole device state, is
	// stopped by SIGSTOP, and its events were read to the end without RESUME.
	EventGuestFrozen
	// EventPeerReady (source): READY came and its digest is right.
	EventPeerReady
	// EventResumed (source): the destination has run the guest.
	EventResumed
	// EventPeerComplete (source): the destination has every page.
	EventPeerComplete
	// EventRenounced (source): the destination gives the epoch back.
	EventRenounced
	// EventPeerAbandoned (source): the destination gave up, or it confirms
	// that it learned of the abort.
	EventPeerAbandoned
	// EventPeerLost (both): the link is gone.
	EventPeerLost
	// EventFailed (both): this side cannot go on. After the commit it changes
	// nothing.
	EventFailed
	// EventDeadline (source): READY did not come in time.
	EventDeadline
	// EventCancelled (both): a person does not want the move any more.
	EventCancelled
	// EventGuestResumedBySomeone (source): the guest runs, but not by us.
	EventGuestResumedBySomeone
	// EventVMMDied (both): the VMM has exited. At the destination its events
	// were read to the end before: a RESUME among them is EventGuestRan first.
	EventVMMDied

	// EventOffered (destination): a source offers the guest.
	EventOffered
	// EventGuestArmed (destination): the VMM waits and its faults are served.
	EventGuestArmed
	// EventStreamLoaded (destination): the whole device state is loaded.
	EventStreamLoaded
	// EventCommitted (destination): COMMIT came.
	EventCommitted
	// EventGuestRan (destination): RESUME was seen. Also makes it say so again.
	EventGuestRan
	// EventRunFailed (destination): the guest could not be run and has not
	// executed an instruction: the VMM refused, or it is dead and its events
	// were read to the end without RESUME. Unknown is not failed.
	EventRunFailed
	// EventAborted (destination): the source keeps the guest.
	EventAborted
	// EventAllInstalled (destination): every page is in. Comes after GuestRan.
	EventAllInstalled
	// EventPeerReleased (destination): the source knows of COMPLETE.
	EventPeerReleased

	// EventEngineLost (both): a keeper took the place of the dead engine. Only
	// for machines from RestoreSource and RestoreDestination, as first event.
	EventEngineLost
	// EventGiveUp (both): nobody waits longer for the peer's acknowledgement.
	// Of use only where nothing depends on it: see the rules.
	EventGiveUp
	eventCount
)

var eventNames = [eventCount]string{
	"Begin", "PeerArmed", "GuestFrozen", "PeerReady", "Resumed",
	"PeerComplete", "Renounced", "PeerAbandoned", "PeerLost", "Failed",
	"Deadline", "Cancelled", "GuestResumedBySomeone", "VMMDied", "Offered",
	"GuestArmed", "StreamLoaded", "Committed", "GuestRan", "RunFailed",
	"Aborted", "AllInstalled", "PeerReleased", "EngineLost", "GiveUp",
}

// String returns the name of the event.
func (e Event) String() string {
	if e >= eventCount {
		return fmt.Sprintf("Event(%d)", uint8(e))
	}
	return eventNames[e]
}
