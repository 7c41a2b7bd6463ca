package migrate

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/internal/vmm"
	"github.com/lazymig/lazymig/internal/vmm/microvm"
	"github.com/lazymig/lazymig/internal/vmm/qemu"
	"github.com/lazymig/lazymig/internal/wire"
)

var (
	_ sourceVMM      = microVMSource{}
	_ destinationVMM = microVMDestination{}
)

// microVMSource is an embedded VMM that runs a guest.
type microVMSource struct{ *microvm.Guest }

func attachMicroVM(ctx context.Context, control string) (sourceVMM, error) {
	g, err := microvm.Attach(ctx, control)
	if err != nil {
		return nil, err
	}
	return microVMSource{g}, nil
}

func reattachMicroVM(ctx context.Context, text json.RawMessage) (sourceVMM, error) {
	var state microvm.ThawState
	if err := json.Unmarshal(text, &state); err != nil {
		return nil, fmt.Errorf("read how to thaw the guest: %w", err)
	}
	g, err := microvm.Reattach(ctx, state)
	if err != nil {
		return nil, err
	}
	return microVMSource{g}, nil
}

func (m microVMSource) Memory(ctx context.Context) (guestMemory, error) { return m.Guest.Memory(ctx) }

// Rings has nothing to tell: the VMM's devices have no rings.
func (m microVMSource) Rings(context.Context) ([]lazymig.PageNumber, error) { return nil, nil }

// Likely has nothing to tell: the VMM shows no registers.
func (m microVMSource) Likely(context.Context, int) ([]lazymig.PageNumber, error) { return nil, nil }

func (m microVMSource) ThawState() (json.RawMessage, error) {
	return json.Marshal(m.Guest.ThawState())
}

// microVMDestination is an embedded VMM that takes a guest.
type microVMDestination struct{ *microvm.Incoming }

func newMicroVM(c ReceiveConfig, dir, tag string) (destinationVMM, error) {
	i, err := microvm.NewIncoming(microvm.IncomingConfig{Args: c.Args, Dir: dir, Tag: tag, OOMScoreAdj: c.OOMScoreAdj})
	if err != nil {
		return nil, err
	}
	return microVMDestination{i}, nil
}

func (m microVMDestination) Preflight(ctx context.Context, source vmm.Description) ([]vmm.Check, error) {
	if source.Kind != vmm.KindMicroVM {
		return []vmm.Check{otherKind(source.Kind, vmm.KindMicroVM)}, nil
	}
	checks, err := m.Incoming.Preflight(ctx, source)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", wire.ErrMalformed, err)
	}
	directory, bytes, err := m.Needs(source)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", wire.ErrMalformed, err)
	}
	room, err := qemu.Host{}.Room(directory)
	if err != nil {
		return nil, err
	}
	pages, err := qemu.Host{}.CheckHugePages(directory)
	if err != nil {
		return nil, err
	}
	place := vmm.Check{Name: "ram-place", Status: vmm.StatusOK, Detail: directory + " is a tmpfs"}
	if !room.IsTmpfs {
		place = vmm.Check{Name: "ram-place", Status: vmm.StatusRefused, Detail: directory + " is not a tmpfs", Fix: "use a path in /dev/shm"}
	}
	return append(append(checks, place, pages), room.Check(bytes)...), nil
}
