package migrate

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/internal/vmm"
	"github.com/lazymig/lazymig/internal/vmm/microvm"
	"github.com/lazymig/lazymig/uffd"
)

// sourceVMM runs the guest that is to move. The calls are made in this order:
//
//	Describe, Preflight → Memory → Prepare → Freeze → Kill → Close
//	                                  └────────┴→ Thaw ──────┘
type sourceVMM interface {
	// Describe says what guest it runs, Preflight whether that can move.
	Describe(ctx context.Context) (vmm.Description, error)
	Preflight(ctx context.Context) ([]vmm.Check, error)
	// Memory opens the guest's RAM; the caller closes it.
	Memory(ctx context.Context) (guestMemory, error)
	// Rings returns pages that the load of the devices reads at the destination,
	// as far as they can be told.
	Rings(ctx context.Context) ([]lazymig.PageNumber, error)
	// Likely returns pages, at most most, that the guest is likely to touch first
	// behind the switch, the first needed first, as far as they can be told.
	Likely(ctx context.Context, most int) ([]lazymig.PageNumber, error)
	// Prepare does everything that needs no stopped guest.
	Prepare(ctx context.Context) error
	// ThawState is what another process must know for Thaw.
	ThawState() (json.RawMessage, error)
	// Freeze stops the guest, writes its device state and stops the process.
	Freeze(ctx context.Context, stream io.Writer) (vmm.Frozen, error)
	// Thaw takes everything since Prepare back.
	Thaw(ctx context.Context) error
	// Kill ends the process with SIGKILL and waits for its end.
	Kill(ctx context.Context) error
	// Close lets go of the VMM and leaves it as it is.
	Close() error

	PID() int
	Exited() <-chan struct{}
	// Stopped gets the time at which Freeze learnt that the guest had stopped,
	// Still a value when nothing writes to its memory any more.
	Stopped() <-chan time.Time
	Still() <-chan struct{}
	// WatchResume tells when somebody lets the guest run, until stop is called.
	WatchResume() (resumed <-chan struct{}, stop func())
}

// guestMemory is the RAM of a guest at the source, readable also when the VMM
// has ended.
type guestMemory interface {
	SourceMemory
	// Unlink removes the names of its files unless they are used by others.
	Unlink() error
	Close() error
}

// destinationVMM takes a guest. The calls are made in this order:
//
//	Create → Start → Preflight → Arm → Load → Run → Announce → Detach
//
// and from anywhere: Kill → Remove → Detach.
type destinationVMM interface {
	// Create makes the RAM files.
	Create() error
	// Start starts the VMM's process, which waits for a guest.
	Start(ctx context.Context) error
	// Preflight checks that the guest of source can run here.
	Preflight(ctx context.Context, source vmm.Description) ([]vmm.Check, error)
	// Arm gives the userfaultfd with which all guest RAM is registered. The
	// VMM keeps a copy of it.
	Arm(ctx context.Context) (*uffd.Handle, []vmm.Mapping, error)
	// Load takes the device state by stream; loaded gets how it ended.
	Load(ctx context.Context) (stream io.WriteCloser, loaded <-chan error, err error)
	// Run lets the guest run. An error that wraps vmm.ErrMayHaveRun leaves
	// open whether it did.
	Run(ctx context.Context) error
	// Announce tells the network where the guest is now.
	Announce(ctx context.Context) error
	Kill(ctx context.Context) error
	// Remove removes what was made, once the VMM has ended.
	Remove() error
	// Detach lets go of the VMM and leaves it as it is.
	Detach() error

	PID() int
	// MonitorPath is the socket by which the VMM is told what to do.
	MonitorPath() string
	RAMFiles() []string
	Exited() <-chan struct{}
	Resumed() <-chan struct{}
	ResumedAt() time.Time
	// Shutdown tells how the VMM ended.
	Shutdown() (reason string, powerOff bool)
}

// attach opens the VMM that runs the guest.
func (c SendConfig) attach(ctx context.Context) (sourceVMM, error) {
	if c.MicroVM != "" {
		return attachMicroVM(ctx, c.MicroVM)
	}
	return attachQEMU(ctx, c.QMP)
}

// incoming reads the command line of the VMM that takes a guest. Nothing is
// made yet.
func (c ReceiveConfig) incoming(dir, tag string) (destinationVMM, error) {
	if microvm.IsCommandLine(c.Args) {
		return newMicroVM(c, dir, tag)
	}
	return newQEMU(c, dir, tag)
}

// reattach opens a frozen VMM from what its ThawState had returned.
func reattach(ctx context.Context, kind vmm.Kind, state json.RawMessage) (sourceVMM, error) {
	switch kind {
	case vmm.KindQEMU:
		return reattachQEMU(ctx, state)
	case vmm.KindMicroVM:
		return reattachMicroVM(ctx, state)
	}
	return nil, fmt.Errorf("attach to a VMM of kind %q: there is none", kind)
}

// otherKind refuses a guest that this VMM cannot run.
func otherKind(source, here vmm.Kind) vmm.Check {
	return vmm.Check{
		Name: "vmm", Status: vmm.StatusRefused,
		Detail: fmt.Sprintf("the guest runs in a VMM of kind %q, the destination's is %q", source, here),
		Fix:    "give `lazymig receive` the command line of the VMM that the source runs",
	}
}
