package failover

import (
	"fmt"

	"github.com/lazymig/lazymig"
)

// ActionKind says what an Action asks for.
type ActionKind uint8

const (
	// ActionRecord appends Action.Record to the journal. The Driver does it.
	ActionRecord ActionKind = iota
	// ActionArm (destination) prepares the VMM and serves its faults:
	// EventGuestArmed or EventFailed follows.
	ActionArm
	// ActionFreeze (source) stops the guest and sends its device state:
	// EventGuestFrozen, EventGuestResumedBySomeone or EventFailed follows.
	ActionFreeze
	// ActionSendArmed (destination) sends the verdict OK.
	ActionSendArmed
	// ActionSendReady (destination) sends READY.
	ActionSendReady
	// ActionSendCommit (source) sends COMMIT.
	ActionSendCommit
	// ActionSendAbort (source) sends ABORT.
	ActionSendAbort
	// ActionSendResumed (destination) sends RESUMED.
	ActionSendResumed
	// ActionSendAbandoned (destination) sends ABANDONED.
	ActionSendAbandoned
	// ActionSendRenounced (destination) sends RENOUNCED.
	ActionSendRenounced
	// ActionSendComplete (destination) sends COMPLETE.
	ActionSendComplete
	// ActionSendReleased (source) sends RELEASED.
	ActionSendReleased
	// ActionRunGuest (destination) runs the guest: EventGuestRan,
	// EventRunFailed or EventVMMDied follows. Not asked for a guest that was
	// paused: that one stays paused.
	ActionRunGuest
	// ActionResumeGuest (source) puts the guest back as it was, from any point:
	// SIGCONT, run unless it was paused, settings, announcement. Idempotent.
	ActionResumeGuest
	// ActionKillVMM kills the VMM and waits for its end. Idempotent. Where it
	// stands behind a failed move at the destination it includes what was made
	// for that VMM.
	ActionKillVMM
	// ActionReconnect makes the link anew if it is gone: the source dials, the
	// destination waits for it. Then both ask Reconnected of their drivers. A
	// Send action without a link is dropped: the reconnection makes up for it.
	ActionReconnect
	// ActionRelease frees what the move needed: the destination unregisters
	// the guest's memory, the source removes its copy. Idempotent.
	ActionRelease
	// ActionSyncJournal forces what was appended unforced. The Driver syncs
	// the journal and hands the action over, for files beside it.
	ActionSyncJournal
	// ActionFinish ends the attempt: nothing is waited for any more.
	ActionFinish
	actionCount
)

var actionNames = [actionCount]string{
	"Record", "Arm", "Freeze", "SendArmed", "SendReady", "SendCommit",
	"SendAbort", "SendResumed", "SendAbandoned", "SendRenounced",
	"SendComplete", "SendReleased", "RunGuest", "ResumeGuest", "KillVMM",
	"Reconnect", "Release", "SyncJournal", "Finish",
}

// String returns the name of the kind.
func (k ActionKind) String() string {
	if k >= actionCount {
		return fmt.Sprintf("Action(%d)", uint8(k))
	}
	return actionNames[k]
}

// Action is one thing to do, in the order of the list that holds it.
type Action struct {
	Kind ActionKind
	// Epoch goes into the message of a Send action. It is the attempt's own,
	// also when the source has taken the guest back as the next epoch.
	Epoch lazymig.Epoch
	// Record and Force belong to ActionRecord. A forced record is durable
	// before the next action.
	Record Record
	Force  bool
	// Reason says to people why, and goes into messages that carry one.
	Reason string
}
