package failover

import (
	"crypto/rand"
	"fmt"
	"slices"

	"github.com/lazymig/lazymig"
)

// NewIdentity returns a new random identity, for the first send of a VM.
func NewIdentity() lazymig.VMID {
	var id lazymig.VMID
	rand.Read(id[:])
	return id
}

// Identity returns the identity of the VM whose records these are. ok is false
// when there are none: the VM is new to this host.
func Identity(records []Record) (id lazymig.VMID, ok bool) {
	if len(records) == 0 {
		return lazymig.VMID{}, false
	}
	return records[len(records)-1].VM, true
}

// CheckIdentity returns an error that wraps ErrIdentity if the records are
// those of another VM than id, or id is zero.
func CheckIdentity(records []Record, id lazymig.VMID) error {
	if id == (lazymig.VMID{}) {
		return fmt.Errorf("check identity: %w: the identity is empty", ErrIdentity)
	}
	if known, ok := Identity(records); ok && known != id {
		return fmt.Errorf("check identity: %w: this host knows %s, the other says %s; use another --vm name, or remove the state directory of the VM if it is gone for good", ErrIdentity, known, id)
	}
	return nil
}

// NextEpoch returns the epoch for a new attempt: the highest one seen, plus 1.
func NextEpoch(records []Record) lazymig.Epoch { return highestEpoch(records) + 1 }

func highestEpoch(records []Record) lazymig.Epoch {
	var highest lazymig.Epoch
	for _, r := range records {
		highest = max(highest, r.Epoch)
	}
	return highest
}

// CheckSend returns an error that wraps ErrUndecided if the last record forbids
// to move the VM away from this host: the guest was handed over (CEDED), waits
// for a decision (LOADED), or still misses pages (OWNER).
func CheckSend(records []Record) error {
	return checkLast(records, StateCeded, StateLoaded, StateOwner)
}

// CheckReceive decides at a destination whether an offer may be taken. It
// returns an error that wraps ErrIdentity for another VM of this name, ErrEpoch
// for an epoch that is not above all that this host has journaled, and
// ErrUndecided if the guest was handed over from here or still misses pages
// here. LOADED is no hindrance: a higher epoch proves that it was not committed.
func CheckReceive(records []Record, id lazymig.VMID, epoch lazymig.Epoch) error {
	if err := CheckIdentity(records, id); err != nil {
		return err
	}
	if highest := highestEpoch(records); epoch <= highest || epoch > MaxEpoch {
		return fmt.Errorf("check offer: %w: %d, but this host has seen %d", ErrEpoch, epoch, highest)
	}
	return checkLast(records, StateCeded, StateOwner)
}

func checkLast(records []Record, forbidden ...State) error {
	if len(records) == 0 {
		return nil
	}
	last := records[len(records)-1]
	if !slices.Contains(forbidden, last.State) {
		return nil
	}
	return fmt.Errorf("check last move: %w: %s of epoch %d, with %s; look there, and remove the state directory of the VM once the guest is known to be gone from here", ErrUndecided, last.State, last.Epoch, last.Peer)
}
