package failover_test

import (
	"errors"
	"fmt"
	"os"

	"github.com/lazymig/lazymig/failover"
)

// A source on its way to the commit. The Driver writes each record to the
// journal before it hands over the actions that rest on it.
func Example() {
	if err := commit(); err != nil {
		fmt.Println(err)
	}
	// Output:
	// Begin
	// PeerArmed
	//    do: Freeze
	// GuestFrozen
	// PeerReady
	//    do: SendCommit
	// too late to cancel: true
	// recorded: PREPARING of epoch 1
	// recorded: FROZEN of epoch 1
	// recorded: CEDED of epoch 1
}

func commit() error {
	dir, err := os.MkdirTemp("", "journal")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	journal, err := failover.OpenJournal(dir)
	if err != nil {
		return err
	}
	defer journal.Close()
	if err := failover.CheckSend(journal.Records()); err != nil {
		return err // this host may not send the guest
	}
	epoch := failover.NextEpoch(journal.Records())
	source := failover.NewSource(failover.NewIdentity(), epoch, true, "host8")
	driver := failover.NewDriver(source, journal, func(a failover.Action) { fmt.Println("   do:", a.Kind) })

	for _, e := range []failover.Event{
		failover.EventBegin, failover.EventPeerArmed, failover.EventGuestFrozen, failover.EventPeerReady,
	} {
		fmt.Println(e)
		if err := driver.Apply(e, ""); err != nil {
			return err
		}
	}
	err = driver.Apply(failover.EventCancelled, "somebody thinks better of it")
	fmt.Println("too late to cancel:", errors.Is(err, failover.ErrTooLate))
	for _, record := range journal.Records() {
		fmt.Println("recorded:", record.State, "of epoch", record.Epoch)
	}
	return nil
}
