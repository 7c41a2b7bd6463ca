package qemu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/lazymig/lazymig/internal/vmm"
	"github.com/lazymig/lazymig/internal/vmm/process"

	"golang.org/x/sys/unix"

	"github.com/lazymig/lazymig/internal/vmm/qmp"
)

// Guest is a guest of a QEMU that runs already: the source of a migration.
//
//	Attach → Preflight, Describe → Memory → Prepare → Freeze → Kill → Close
//	                                           └────────┴→ Thaw ──────┘
type Guest struct {
	path      string // of the monitor's socket
	monitor   *qmp.Client
	vmm       *process.Process
	state     ThawState
	missing   []string // capabilities that QEMU lacks
	prepared  bool     // the settings are changed
	migrating bool     // a migration was started and not taken back
	continued bool     // it was, or may have been, told to leave pre-switchover
	relays    sync.WaitGroup
	stopped   chan time.Time // gets the time of the stop
	still     chan struct{}  // gets a value when memory does not change any more
}

// PID returns the VMM's process id.
func (g *Guest) PID() int { return g.vmm.PID }

// PIDFD returns a descriptor of the VMM's process that Guest owns, valid
// until Close.
func (g *Guest) PIDFD() int { return g.vmm.FD }

// Exited is closed when the VMM has ended.
func (g *Guest) Exited() <-chan struct{} { return g.vmm.Exited() }

// Stopped gets the time at which Freeze learnt that the guest had stopped, with
// a monotonic reading: the blackout has begun.
func (g *Guest) Stopped() <-chan time.Time { return g.stopped }

func (g *Guest) tellStopped(at time.Time) {
	select {
	case g.stopped <- at:
	default: // nobody has taken that of an earlier Freeze
	}
}

// Still gets a value when Freeze learnt that nothing writes to the guest's
// memory any more: its vCPUs stand and its disks are drained. Whatever is read
// from then on is what the guest has at the freeze, unless Freeze fails.
func (g *Guest) Still() <-chan struct{} { return g.still }

func (g *Guest) tellStill() {
	select {
	case g.still <- struct{}{}:
	default: // nobody has taken that of an earlier Freeze
	}
}

// Events follows what the VMM's monitor tells from now on; the caller closes
// the subscription.
func (g *Guest) Events() *qmp.Subscription { return g.monitor.Subscribe(captureEvents) }

// Describe asks the VMM what guest it runs. The guest is not disturbed.
func (g *Guest) Describe(ctx context.Context) (Description, error) {
	return describe(ctx, g.monitor, g.PID())
}

// Memory opens the guest's RAM files; the caller closes it. The error is
// ErrNoRAMFile if not all of the RAM is in such files.
func (g *Guest) Memory(ctx context.Context) (*FileMemory, error) {
	i, err := inspect(ctx, g.monitor, g.PID())
	if err != nil {
		return nil, err
	}
	return newFileMemory(g.PID(), i.rams)
}

// ThawState returns what Thaw needs to know in another process: from Attach on,
// and again after Prepare, if somebody has changed something in between.
func (g *Guest) ThawState() ThawState { return g.state }

// Kill ends the VMM with SIGKILL and waits for its end: for at most a minute
// if the context has no deadline.
func (g *Guest) Kill(ctx context.Context) error {
	ctx, cancel := bound(ctx, killTimeout)
	defer cancel()
	if err := g.vmm.Kill(); err != nil {
		return err
	}
	select {
	case <-g.vmm.Exited():
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the end of the VMM, process %d: %w", g.PID(), context.Cause(ctx))
	}
}

// Close lets go of the VMM and leaves it as it is. It waits for a Write on
// the stream of a Freeze that failed. Calls after the first do nothing.
func (g *Guest) Close() error {
	err := g.monitor.Close()
	g.relays.Wait()
	g.vmm.Release()
	return err
}

// connect makes sure of a living connection to the monitor.
func (g *Guest) connect(ctx context.Context) error {
	if g.monitor.Err() == nil {
		return nil
	}
	monitor, err := dialPatiently(ctx, g.path)
	if err != nil {
		return g.explain(err)
	}
	g.monitor = monitor
	return nil
}

// dialPatiently connects to a monitor that another client may be about to
// leave.
func dialPatiently(ctx context.Context, path string) (*qmp.Client, error) {
	for {
		monitor, err := qmp.Dial(ctx, path)
		if err == nil || !errors.Is(err, qmp.ErrInUse) || ctx.Err() != nil {
			return monitor, err
		}
	}
}

// explain adds to an error that the VMM has ended, if it has. The kernel
// closes a process's sockets a moment before it reports the end.
func (g *Guest) explain(err error) error {
	if err == nil || errors.Is(err, vmm.ErrGone) {
		return err
	}
	if isHangUp(err) {
		select {
		case <-g.vmm.Exited():
		case <-time.After(exitGrace):
		}
	}
	if g.vmm.HasExited() {
		return fmt.Errorf("%w: %w", vmm.ErrGone, err)
	}
	return err
}

// isHangUp tells that QEMU's end of a connection is gone.
func isHangUp(err error) bool {
	for _, end := range []error{io.EOF, io.ErrUnexpectedEOF, unix.ECONNRESET, unix.ECONNREFUSED, unix.EPIPE} {
		if errors.Is(err, end) {
			return true
		}
	}
	return false
}

// bound gives a context without a deadline one.
func bound(ctx context.Context, most time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, most)
}

// GuestName returns the guest's -name, empty if it has none.
func GuestName(ctx context.Context, qmpPath string) (string, error) {
	monitor, err := qmp.Dial(ctx, qmpPath)
	if err != nil {
		return "", err
	}
	name, err := queries{monitor}.name(ctx)
	return name, errors.Join(err, monitor.Close())
}

// stopProcess stops the VMM's process, so that it says nothing more and does
// nothing more.
func (g *Guest) stopProcess(ctx context.Context) error { return g.explain(g.vmm.Stop(ctx)) }

// resumeProcess lets a stopped process go on. One that was not stopped is
// fine.
func (g *Guest) resumeProcess() error { return g.vmm.Continue() }
