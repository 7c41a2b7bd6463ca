package qemu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/lazymig/lazymig/internal/vmm"
	"github.com/lazymig/lazymig/internal/vmm/process"

	"golang.org/x/sys/unix"
)

// streamName is QEMU's name of the descriptor that the device state comes
// through.
const streamName = "lazymig-stream"

// Load makes QEMU read the device state. The caller writes it to stream and
// closes that when all is written. loaded gets one value: nil when the guest
// is ready to run, or the reason why it never will be.
//
// Loading touches guest RAM: faults have to be served meanwhile, or QEMU's
// main loop hangs on one. It ends with QEMU's end if the state is bad.
func (i *Incoming) Load(ctx context.Context) (stream io.WriteCloser, loaded <-chan error, err error) {
	ours, theirs, err := streamPair()
	if err != nil {
		return nil, nil, err
	}
	defer unix.Close(theirs)
	name := map[string]string{"fdname": streamName}
	if err := i.client.ExecuteFD(ctx, "getfd", name, theirs); err != nil {
		return nil, nil, errors.Join(i.explain(fmt.Errorf("pass the stream to QEMU: %w", err)), ours.Close())
	}
	uri := map[string]string{"uri": "fd:" + streamName}
	if err := i.client.Execute(ctx, "migrate-incoming", uri, nil); err != nil {
		return nil, nil, errors.Join(i.explain(fmt.Errorf("load the device state: %w", err)), ours.Close())
	}
	return &announceTail{incoming: i, file: ours}, i.events.loaded, nil
}

// streamPair returns the two ends of a stream; only ours does not block in the
// kernel, so that closing it ends a Write.
func streamPair() (ours *os.File, theirs int, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, -1, fmt.Errorf("make a stream: %w", err)
	}
	if err := unix.SetNonblock(pair[0], true); err != nil {
		return nil, -1, errors.Join(fmt.Errorf("make a stream: %w", err), unix.Close(pair[0]), unix.Close(pair[1]))
	}
	return os.NewFile(uintptr(pair[0]), "device state"), pair[1], nil
}

// Run lets the guest run and waits until it does. A *qmp.CommandError is
// QEMU's refusal: the guest has not run. Any other error wraps ErrMayHaveRun.
func (i *Incoming) Run(ctx context.Context) error {
	i.events.expectResume()
	err := i.client.Execute(ctx, "cont", nil, nil)
	if isCommandError(err) {
		return fmt.Errorf("run the guest: %w", err)
	}
	if err != nil {
		return fmt.Errorf("run the guest: %w: %w", vmm.ErrMayHaveRun, i.explain(err))
	}
	select {
	case <-i.events.resumed:
		return nil
	case <-i.exited:
	case <-ctx.Done():
	}
	if i.events.hasResumed() {
		return nil
	}
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("run the guest: no RESUME: %w: %w", vmm.ErrMayHaveRun, err)
	}
	return fmt.Errorf("run the guest: %w: QEMU has ended; %s", vmm.ErrMayHaveRun, process.LogTail(i.LogPath()))
}

// Announce makes QEMU announce the guest's network addresses, so that switches
// send its packets here. It returns at once; QEMU announces for about a second.
func (i *Incoming) Announce(ctx context.Context) error {
	args := map[string]int{"initial": 50, "max": 550, "rounds": 5, "step": 100} // QEMU's own defaults, ms
	if err := i.client.Execute(ctx, "announce-self", args, nil); err != nil {
		return i.explain(fmt.Errorf("announce the guest: %w", err))
	}
	return nil
}
