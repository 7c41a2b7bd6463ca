package failover

import (
	"errors"
	"fmt"

	"github.com/lazymig/lazymig"
)

// Machine is a Source or a Destination.
type Machine interface {
	State() State
	Epoch() lazymig.Epoch
	Finished() bool
	Step(e Event, reason string) ([]Action, error)
	CheckEpoch(e Event, epoch lazymig.Epoch) error
	Announce() (State, lazymig.Epoch)
	Announced(peer State, epoch lazymig.Epoch) ([]Event, error)
	save() (undo func())
}

// Log is a Journal, or one that a simulation can break. After a failed Append
// it is unknown whether the record is on disk; after the next successful Append
// or Sync it is certain that it is not.
type Log interface {
	Append(r Record, force bool) error
	Sync() error
}

// Driver owns a machine and its journal. For each event:
//
//  1. The machine steps and returns actions. They are taken in order; a record
//     is appended, forced if it says so, before the next action is looked at.
//  2. If an append fails, nothing behind it is handed over. The machine goes
//     back to where it was before the event and takes EventFailed instead:
//     before the commit that is the abort, at a destination in LOADED the
//     renunciation, elsewhere no change. If that cannot be written either,
//     there is no change.
//  3. The unforced RUNNING of an abort and ABANDONED are exempt: their absence
//     means the same, so the guest does not stand still for them.
//  4. Except while a CEDED or OWNER is in doubt: it was not written, but may be
//     on disk. A process that later found it there would go on from it. So the
//     abort or renunciation must then be durable, in a new journal file without
//     the doubtful record. Until that succeeds the answer is ErrStopped: the
//     guest runs nowhere, and nothing is sent. A later event that ends the
//     attempt tries again, and a commit counts as EventFailed.
type Driver struct {
	machine Machine
	log     Log
	perform func(Action)
	doubt   bool
	again   *happening // what Retry takes
}

// happening is an event and why it happened.
type happening struct {
	event  Event
	reason string
}

// NewDriver returns a driver. perform gets every action but the records, in
// order, and must not call the driver: what it finds out comes as a later
// event. It cannot fail; a link that is gone is EventPeerLost, later.
func NewDriver(m Machine, log Log, perform func(Action)) *Driver {
	return &Driver{machine: m, log: log, perform: perform}
}

// State returns where the attempt is.
func (d *Driver) State() State { return d.machine.State() }

// Epoch returns the attempt's epoch.
func (d *Driver) Epoch() lazymig.Epoch { return d.machine.Epoch() }

// Finished reports whether ActionFinish was handed over.
func (d *Driver) Finished() bool { return d.machine.Finished() }

// Stopped reports whether a decision is in doubt: see ErrStopped.
func (d *Driver) Stopped() bool { return d.doubt }

// Announce returns what this side says of itself on a new link.
func (d *Driver) Announce() (State, lazymig.Epoch) { return d.machine.Announce() }

// Reconnected applies what follows from the peer's announcement on a new link.
// The errors are those of Announced and Apply.
func (d *Driver) Reconnected(peer State, epoch lazymig.Epoch) error {
	events, err := d.machine.Announced(peer, epoch)
	for _, e := range events {
		err = errors.Join(err, d.Apply(e, "the link is back, the other side is "+peer.String()))
	}
	return err
}

// ApplyMessage is Apply for an event that a message with an epoch brought. A
// message of another epoch is ignored with an error that wraps ErrEpoch.
func (d *Driver) ApplyMessage(e Event, epoch lazymig.Epoch, reason string) error {
	if err := d.machine.CheckEpoch(e, epoch); err != nil {
		return err
	}
	return d.Apply(e, reason)
}

// Apply takes one event. Errors: ErrUnexpected, ErrTooLate, ErrConflict
// (nothing has changed), ErrNotRecorded and ErrStopped.
func (d *Driver) Apply(e Event, reason string) error {
	if d.doubt && (e == EventPeerReady || e == EventCommitted) {
		e, reason = EventFailed, "an earlier decision could not be recorded"
	}
	before := d.machine.State()
	undo := d.machine.save()
	actions, err := d.machine.Step(e, reason)
	if err != nil {
		return err
	}
	failed, err := d.take(actions)
	if d.machine.State() != before {
		d.again = nil
	}
	if failed == StateNone {
		return notRecorded(err)
	}
	undo()
	if (failed == StateCeded || failed == StateOwner) && failed != before {
		d.doubt = true
	}
	changed, err := d.fail(err)
	if d.doubt {
		return errors.Join(ErrStopped, err)
	}
	if !changed {
		d.again = &happening{e, reason}
	}
	return notRecorded(err)
}

// Retry takes again the last event whose record could not be written and of
// which nothing came, unless the state has changed since. Errors are those of Apply.
// Call it now and then, for example each second.
func (d *Driver) Retry() error {
	if d.again == nil {
		return nil
	}
	h := *d.again
	d.again = nil
	return d.Apply(h.event, h.reason)
}

func notRecorded(err error) error {
	if err == nil {
		return nil
	}
	return errors.Join(ErrNotRecorded, err)
}

// fail is what becomes of an event whose record could not be written.
func (d *Driver) fail(cause error) (changed bool, err error) {
	undo := d.machine.save()
	actions, err := d.machine.Step(EventFailed, cause.Error())
	if err != nil {
		return false, errors.Join(cause, err)
	}
	failed, err := d.take(actions)
	if failed != StateNone {
		undo()
	}
	return failed == StateNone && len(actions) > 0, errors.Join(cause, err)
}

// take performs actions. It ends at a record that fails and that the rest must
// not go without, and returns its state.
func (d *Driver) take(actions []Action) (failed State, err error) {
	for _, a := range actions {
		if a.Kind == ActionRecord {
			failure := d.append(a)
			err = errors.Join(err, failure)
			if failure != nil && !d.exempt(a) {
				return a.Record.State, err
			}
			continue
		}
		if a.Kind == ActionSyncJournal {
			err = errors.Join(err, d.log.Sync())
		}
		d.perform(a)
	}
	return StateNone, err
}

func (d *Driver) exempt(a Action) bool {
	s := a.Record.State
	return !d.doubt && !a.Force && (s == StateRunning || s == StateAbandoned)
}

// append writes a record. Once one is written, no earlier one is in doubt.
func (d *Driver) append(a Action) error {
	if err := d.log.Append(a.Record, a.Force || d.doubt); err != nil {
		return fmt.Errorf("record %s of epoch %d: %w", a.Record.State, a.Record.Epoch, err)
	}
	d.doubt = false
	return nil
}
