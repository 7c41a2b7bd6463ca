package vmm

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/lazymig/lazymig"
)

// Kind says which VMM runs a guest.
type Kind string

// The kinds of VMM.
const (
	KindQEMU    Kind = "qemu"
	KindMicroVM Kind = "microvm"
)

// Description says what guest a VMM runs.
type Description struct {
	Kind Kind `json:"kind"`
	// Running says that the vCPUs run.
	Running bool `json:"running"`
	// Layout is the guest's RAM.
	Layout lazymig.Layout `json:"layout"`
	// Details are what the adapter of that kind compares.
	Details json.RawMessage `json:"details"`
}

// Mapping is a range of a VMM's address space that shows a part of guest RAM.
type Mapping struct {
	// Region is the index in the guest's layout.
	Region int
	// Start is the address in the VMM.
	Start uint64
	// Offset is the position in the region, Length the size; both in bytes.
	Offset, Length uint64
	// Huge says that it consists of pages of lazymig.HugePageSize.
	Huge bool
}

// Frozen is what the freeze of a guest found out.
type Frozen struct {
	// Stopped is the VMM's own time of the guest's stop; zero if the guest was
	// paused before.
	Stopped time.Time
	// StoppedReceived is when lazymig had read that, with a monotonic
	// reading; zero if the guest was paused before.
	StoppedReceived time.Time
	// StreamBytes is the length of the device state.
	StreamBytes int64
	// WasRunning says whether the guest ran until now.
	WasRunning bool
}

var (
	// ErrResumedBySomeone is returned when the guest runs although lazymig
	// holds it stopped: somebody else told the VMM to. What was captured is
	// worth nothing then.
	ErrResumedBySomeone = errors.New("somebody else let the guest run (a \"cont\" on another monitor)")

	// ErrMayHaveRun is returned when a VMM was told to run the guest and it is
	// not known whether it did. The guest must be taken for one that ran.
	ErrMayHaveRun = errors.New("the guest may have run")

	// ErrGone is returned when the VMM has ended.
	ErrGone = errors.New("the VMM has ended")
)
