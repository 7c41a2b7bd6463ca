package migrate

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/lazymig/lazymig/internal/vmm"
	"github.com/lazymig/lazymig/internal/vmm/qemu"
	"github.com/lazymig/lazymig/internal/wire"
)

var (
	_ sourceVMM      = qemuSource{}
	_ destinationVMM = qemuDestination{}
)

// qemuSource is a QEMU that runs a guest.
type qemuSource struct{ *qemu.Guest }

func attachQEMU(ctx context.Context, monitor string) (sourceVMM, error) {
	g, err := qemu.Attach(ctx, monitor)
	if err != nil {
		return nil, err
	}
	return qemuSource{g}, nil
}

func reattachQEMU(ctx context.Context, text json.RawMessage) (sourceVMM, error) {
	var state qemu.ThawState
	if err := json.Unmarshal(text, &state); err != nil {
		return nil, fmt.Errorf("read how to thaw the guest: %w", err)
	}
	g, err := qemu.Reattach(ctx, state)
	if err != nil {
		return nil, err
	}
	return qemuSource{g}, nil
}

func (q qemuSource) Describe(ctx context.Context) (vmm.Description, error) {
	d, err := q.Guest.Describe(ctx)
	if err != nil {
		return vmm.Description{}, err
	}
	details, err := json.Marshal(d)
	return vmm.Description{Kind: vmm.KindQEMU, Running: d.Running, Layout: d.Layout(), Details: details}, err
}

func (q qemuSource) Memory(ctx context.Context) (guestMemory, error) { return q.Guest.Memory(ctx) }

func (q qemuSource) ThawState() (json.RawMessage, error) { return json.Marshal(q.Guest.ThawState()) }

// WatchResume follows QEMU's events in a goroutine that ends with stop, or with
// QEMU.
func (q qemuSource) WatchResume() (resumed <-chan struct{}, stop func()) {
	events, said := q.Events(), make(chan struct{}, 1)
	go func() {
		for e := range events.Events() {
			if e.Name == "RESUME" {
				said <- struct{}{}
				return
			}
		}
	}()
	return said, events.Close
}

// qemuDestination is a QEMU that takes a guest.
type qemuDestination struct{ *qemu.Incoming }

func newQEMU(c ReceiveConfig, dir, tag string) (destinationVMM, error) {
	i, err := qemu.NewIncoming(qemu.IncomingConfig{Args: c.Args, Dir: dir, Tag: tag, OOMScoreAdj: c.OOMScoreAdj})
	if err != nil {
		return nil, err
	}
	return qemuDestination{i}, nil
}

func (q qemuDestination) MonitorPath() string { return q.QMPPath() }

func (q qemuDestination) Preflight(ctx context.Context, source vmm.Description) ([]vmm.Check, error) {
	if source.Kind != vmm.KindQEMU {
		return []vmm.Check{otherKind(source.Kind, vmm.KindQEMU)}, nil
	}
	var d qemu.Description
	if err := json.Unmarshal(source.Details, &d); err != nil {
		return nil, fmt.Errorf("%w: details of the guest: %w", wire.ErrMalformed, err)
	}
	if !d.Layout().Equal(source.Layout) {
		return nil, fmt.Errorf("%w: the guest's layout is not that of its details", wire.ErrMalformed)
	}
	return q.Incoming.Preflight(ctx, d)
}
