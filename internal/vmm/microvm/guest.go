package microvm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/internal/vmm"
	"github.com/lazymig/lazymig/internal/vmm/process"
)

// Guest is a guest of a microvm that runs already: the source of a migration.
//
//	Attach → Describe, Preflight → Memory → Freeze → Kill → Close
//	                                          └→ Thaw ──────┘
type Guest struct {
	client  *client
	process *process.Process
	status  Status
	state   ThawState
	frozen  bool
	stopped chan time.Time
	still   chan struct{}
	writes  sync.WaitGroup
}

// ThawState is what another process needs to know to let the guest go on. It
// travels as JSON.
type ThawState struct {
	Control    string `json:"control"`
	PID        int    `json:"pid"`
	Started    uint64 `json:"started"` // clock ticks since boot
	WasRunning bool   `json:"was_running"`
}

// details are what both sides of a migration compare.
type details struct {
	Version   int    `json:"version"`
	Size      uint64 `json:"size"`
	Allocated uint64 `json:"allocated"` // of RAM, bytes
}

// Attach connects to the VMM behind a control socket. The guest is not
// disturbed.
func Attach(ctx context.Context, control string) (*Guest, error) {
	g := &Guest{stopped: make(chan time.Time, 1), still: make(chan struct{}, 1)}
	if err := g.connect(ctx, control); err != nil {
		return nil, err
	}
	var err error
	if g.process, err = process.Watch(g.status.PID, nil); err != nil {
		return nil, errors.Join(err, g.client.close())
	}
	started, err := process.StartTime(g.status.PID)
	if err != nil {
		return nil, errors.Join(err, g.Close())
	}
	g.state = ThawState{Control: control, PID: g.status.PID, Started: started, WasRunning: g.status.Running}
	return g, nil
}

func (g *Guest) connect(ctx context.Context, control string) error {
	ctx, cancel := context.WithTimeout(ctx, thawTimeout)
	defer cancel()
	c, err := dial(ctx, control)
	if err != nil {
		return err
	}
	s, err := c.status(ctx)
	if err == nil && g.process != nil && s.PID != g.process.PID {
		err = fmt.Errorf("%w: process %d answers at %s now", vmm.ErrGone, s.PID, control)
	}
	if err != nil {
		return errors.Join(err, c.close())
	}
	g.client, g.status = c, s
	return nil
}

// Reattach opens the guest that another process of lazymig had frozen. The
// next call is Thaw.
func Reattach(ctx context.Context, state ThawState) (*Guest, error) {
	p, err := process.Watch(state.PID, nil)
	if errors.Is(err, unix.ESRCH) {
		return nil, fmt.Errorf("%w: %w", vmm.ErrGone, err)
	}
	if err != nil {
		return nil, err
	}
	started, err := process.StartTime(state.PID)
	if err != nil || started != state.Started {
		p.Release()
		return nil, fmt.Errorf("attach again to process %d: %w", state.PID, vmm.ErrGone)
	}
	g := &Guest{process: p, state: state, frozen: true}
	if err = p.Continue(); err == nil {
		err = g.connect(ctx, state.Control)
	}
	if err != nil {
		err = fmt.Errorf("attach again to process %d: %w", state.PID, g.explain(err))
		p.Release()
		return nil, err
	}
	return g, nil
}

// Describe says what guest it is.
func (g *Guest) Describe(context.Context) (vmm.Description, error) {
	m, err := openMemory(g.status.RAM, g.status.Size)
	if err != nil {
		return vmm.Description{}, err
	}
	d := details{Version: g.status.Version, Size: g.status.Size}
	for _, n := range m.region.Extents() {
		d.Allocated += n
	}
	text, err := json.Marshal(d)
	return vmm.Description{
		Kind: vmm.KindMicroVM, Running: g.status.Running, Layout: layoutOf(g.status.Size), Details: text,
	}, errors.Join(err, m.Close())
}

func layoutOf(size uint64) lazymig.Layout { return lazymig.Layout{{Name: "ram", Size: size}} }

// Preflight checks whether the guest can move.
func (g *Guest) Preflight(context.Context) ([]vmm.Check, error) {
	const fix = "do not touch the RAM file of a guest that runs"
	checks := []vmm.Check{passed("microvm", "process %d runs %s on %s", g.status.PID, g.status.Name, g.status.Accel)}
	m, err := openMemory(g.status.RAM, g.status.Size)
	if err != nil {
		return append(checks, refused("ram-file", fix, "%v", err)), nil
	}
	defer m.Close()
	if !isMapped(g.status.PID, m.inode) {
		return append(checks, refused("ram-file", fix, "process %d has not mapped %s: it is another file", g.status.PID, g.status.RAM)), nil
	}
	return append(checks, passed("ram-file", "%s has %d MiB", g.status.RAM, g.status.Size>>20)), nil
}

// Memory opens the RAM file.
func (g *Guest) Memory(context.Context) (*Memory, error) {
	return openMemory(g.status.RAM, g.status.Size)
}

// Prepare notes whether the guest runs.
func (g *Guest) Prepare(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, freezeTimeout)
	defer cancel()
	s, err := g.client.status(ctx)
	g.state.WasRunning = s.Running
	return err
}

// ThawState returns what Reattach needs.
func (g *Guest) ThawState() ThawState { return g.state }

// Freeze stops the guest, writes its state to stream and stops the process by
// SIGSTOP. From the stop on the VMM refuses to let the guest run, but for Thaw.
// A guest that waits for a page is stopped when it has it. A Write on stream that
// blocks does not keep Freeze from returning when ctx ends; Close waits for it. A
// stream that is an io.Closer is closed when the state is written.
func (g *Guest) Freeze(ctx context.Context, stream io.Writer) (vmm.Frozen, error) {
	ctx, cancel := context.WithTimeout(ctx, freezeTimeout)
	defer cancel()
	f, err := g.freeze(ctx, stream)
	if err != nil {
		return f, fmt.Errorf("freeze the guest: %w", g.explain(err))
	}
	return f, nil
}

func (g *Guest) freeze(ctx context.Context, stream io.Writer) (vmm.Frozen, error) {
	g.frozen = true
	var s stopped
	if err := g.client.execute(ctx, request{Execute: commandStop, Hold: true}, &s); err != nil {
		return vmm.Frozen{}, err
	}
	f := vmm.Frozen{WasRunning: s.At != 0}
	if f.WasRunning {
		f.Stopped, f.StoppedReceived = time.Unix(0, s.At), time.Now()
		g.stopped <- f.StoppedReceived
	}
	g.still <- struct{}{}
	if f.WasRunning != g.state.WasRunning {
		return f, errors.New("somebody else stopped the guest or let it run meanwhile")
	}
	text, err := json.Marshal(s.State)
	if err != nil {
		return f, err
	}
	f.StreamBytes = int64(len(text))
	if err := g.process.Stop(ctx); err != nil {
		return f, err
	}
	return f, g.write(ctx, stream, text)
}

// write writes the state in a goroutine that Close waits for.
func (g *Guest) write(ctx context.Context, stream io.Writer, text []byte) error {
	written := make(chan error, 1)
	g.writes.Go(func() {
		_, err := stream.Write(text)
		if closer, ok := stream.(io.Closer); ok && err == nil {
			err = closer.Close()
		}
		written <- err
	})
	select {
	case err := <-written:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Thaw lets the guest go on if it ran before Freeze. It works from any point
// and again after it failed.
func (g *Guest) Thaw(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, thawTimeout)
	defer cancel()
	if err := g.process.Continue(); err != nil || !g.frozen {
		return err
	}
	select {
	case <-g.client.ended:
		err := g.client.close()
		if err = errors.Join(err, g.connect(ctx, g.state.Control)); err != nil {
			return fmt.Errorf("take the guest back: %w", g.explain(err))
		}
	default:
	}
	back := request{Execute: commandRelease}
	if g.state.WasRunning {
		back = request{Execute: commandRun, Hold: true}
	}
	err := g.client.execute(ctx, back, nil)
	if err != nil {
		return fmt.Errorf("take the guest back: %w", g.explain(err))
	}
	g.frozen = false
	return nil
}

// WatchResume tells when somebody lets the frozen guest run, in a goroutine
// that ends with stop or with the VMM.
func (g *Guest) WatchResume() (resumed <-chan struct{}, stop func()) {
	said, done := make(chan struct{}, 1), make(chan struct{})
	client := g.client
	go func() {
		for {
			select {
			case e := <-client.events:
				if e.Event == eventResume {
					said <- struct{}{}
					return
				}
			case <-client.ended:
				return
			case <-done:
				return
			}
		}
	}()
	return said, func() { close(done) }
}

// explain adds to an error that the VMM has ended, if it has.
func (g *Guest) explain(err error) error {
	if errors.Is(err, net.ErrClosed) || errors.Is(err, unix.ECONNREFUSED) {
		select {
		case <-g.process.Exited():
		case <-time.After(exitGrace):
		}
	}
	if g.process.HasExited() || errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("%w: %w", vmm.ErrGone, err)
	}
	return err
}

// PID returns the VMM's process id.
func (g *Guest) PID() int { return g.state.PID }

// Exited is closed when the VMM has ended.
func (g *Guest) Exited() <-chan struct{} { return g.process.Exited() }

// Stopped gets the time at which Freeze learnt that the guest had stopped.
func (g *Guest) Stopped() <-chan time.Time { return g.stopped }

// Still gets a value when nothing writes to the guest's memory any more.
func (g *Guest) Still() <-chan struct{} { return g.still }

// Kill ends the VMM with SIGKILL and waits for its end.
func (g *Guest) Kill(ctx context.Context) error { return kill(ctx, g.process) }

// Close lets go of the VMM and leaves it as it is.
func (g *Guest) Close() error {
	err := g.client.close()
	g.writes.Wait()
	g.process.Release()
	return err
}

// kill ends a process and waits for its end.
func kill(ctx context.Context, p *process.Process) error {
	if err := p.Kill(); err != nil {
		return err
	}
	select {
	case <-p.Exited():
		return nil
	case <-time.After(killTimeout):
		return fmt.Errorf("kill process %d: it does not end within %v", p.PID, killTimeout)
	case <-ctx.Done():
		return fmt.Errorf("wait for the end of the VMM, process %d: %w", p.PID, context.Cause(ctx))
	}
}
