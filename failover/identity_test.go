package failover

import (
	"errors"
	"testing"

	"github.com/lazymig/lazymig"
)

func TestIdentity(t *testing.T) {
	a, b := NewIdentity(), NewIdentity()
	if a == b || a == (lazymig.VMID{}) {
		t.Fatalf("identities %s and %s", a, b)
	}
	records := []Record{{VM: a, Epoch: 1, State: StateRunning}}
	if id, ok := Identity(records); !ok || id != a {
		t.Errorf("%s %v", id, ok)
	}
	if _, ok := Identity(nil); ok {
		t.Error("a new VM has an identity")
	}
	for _, c := range []struct {
		records []Record
		id      lazymig.VMID
		want    error
	}{
		{nil, a, nil},
		{records, a, nil},
		{records, b, ErrIdentity},
		{nil, lazymig.VMID{}, ErrIdentity},
	} {
		if err := CheckIdentity(c.records, c.id); !errors.Is(err, c.want) {
			t.Errorf("%v %s: %v", c.records, c.id, err)
		}
	}
}

func TestEpochs(t *testing.T) {
	records := []Record{
		{VM: testVM, Epoch: 3, State: StateComplete},
		{VM: testVM, Epoch: 9, State: StateRunning},
		{VM: testVM, Epoch: 8, State: StateRunning},
	}
	if got := NextEpoch(nil); got != 1 {
		t.Errorf("first epoch %d", got)
	}
	if got := NextEpoch(records); got != 10 {
		t.Errorf("next epoch %d", got)
	}
	for epoch, want := range map[lazymig.Epoch]error{
		0: ErrEpoch, 3: ErrEpoch, 9: ErrEpoch, 10: nil, 1000: nil,
		MaxEpoch: nil, MaxEpoch + 1: ErrEpoch, ^lazymig.Epoch(0): ErrEpoch,
	} {
		if err := CheckReceive(records, testVM, epoch); !errors.Is(err, want) {
			t.Errorf("offer of epoch %d: %v", epoch, err)
		}
	}
	if err := CheckReceive(records, lazymig.VMID{8}, 10); !errors.Is(err, ErrIdentity) {
		t.Errorf("another VM: %v", err)
	}
}

// TestCheckLast: which last records stand in the way of a new attempt.
func TestCheckLast(t *testing.T) {
	undecided := map[State]struct{ send, receive bool }{
		StateCeded:  {true, true},
		StateOwner:  {true, true},
		StateLoaded: {true, false},
	}
	for s := StateRunning; s < stateCount; s++ {
		records := []Record{{VM: testVM, Epoch: 2, State: s}}
		if err := CheckSend(records); errors.Is(err, ErrUndecided) != undecided[s].send {
			t.Errorf("send after %s: %v", s, err)
		}
		if err := CheckReceive(records, testVM, 3); errors.Is(err, ErrUndecided) != undecided[s].receive {
			t.Errorf("receive after %s: %v", s, err)
		}
	}
	if err := errors.Join(CheckSend(nil), CheckReceive(nil, testVM, 1)); err != nil {
		t.Error(err)
	}
}
