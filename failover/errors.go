package failover

import "errors"

// Errors of the machines. After any of them nothing has changed.
var (
	// ErrUnexpected is returned for an event that cannot happen in the state:
	// the peer breaks the protocol, or the caller has a bug.
	ErrUnexpected = errors.New("event does not fit the state")
	// ErrTooLate is returned for a cancel or abort behind the commit.
	ErrTooLate = errors.New("too late: the guest was handed over already")
	// ErrConflict is returned when the peer claims what excludes what this
	// side knows. A person must look at both hosts before anything is started.
	ErrConflict = errors.New("the two hosts contradict each other; inspect the guest on both before you start or stop anything")
	// ErrEpoch is returned for an epoch that is not the expected one.
	ErrEpoch = errors.New("wrong epoch")
)

// Errors of the Driver.
var (
	// ErrNotRecorded is returned when the journal could not be written. State
	// tells what came of it: the event was taken all the same where its record
	// may be missing; or EventFailed was taken in its place; or nothing came of
	// it (behind the commit), and Driver.Retry takes it again.
	ErrNotRecorded = errors.New("the journal could not be written")
	// ErrStopped is returned when CEDED or OWNER has an unknown outcome: the
	// disk may hold it or not, and no new journal could be written instead.
	// The guest stays as it is, and a person is needed. EventCancelled, or any
	// other event that would have ended the attempt, tries once more to write
	// that the guest was not handed over.
	ErrStopped = errors.New("the decision is unknown: the journal failed; the guest stays stopped until the disk is repaired")
)

// Errors of the journal and of the checks on it.
var (
	// ErrBusy is returned when another process holds the journal.
	ErrBusy = errors.New("journal is in use")
	// ErrCorrupt is returned for a journal that no crash can leave behind.
	ErrCorrupt = errors.New("journal is damaged")
	// ErrIdentity is returned when another VM has used the same name.
	ErrIdentity = errors.New("another VM has this name")
	// ErrUndecided is returned when an earlier move leaves the guest's place
	// open on this host.
	ErrUndecided = errors.New("an earlier move of this VM has not ended here")
)
