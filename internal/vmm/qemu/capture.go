package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/lazymig/lazymig/internal/vmm"

	"golang.org/x/sys/unix"

	"github.com/lazymig/lazymig/internal/vmm/qmp"
)

// captureName is QEMU's name of the descriptor that the device state leaves
// by. Nothing of it is on disk, and it needs no permission to open a socket.
const captureName = "lazymig-capture"

// Freeze stops the guest, writes its device state to stream as it comes, and
// stops the VMM's process so that nobody else can let the guest run:
//
//  1. "migrate" with a passed descriptor. QEMU sends ROMs and video memory,
//     stops the guest (event STOP), and pauses in pre-switchover.
//  2. "migrate-continue". QEMU sends the state of the devices.
//  3. The migration is completed and the stream has ended: QEMU ends it last.
//     The run state has to be postmigrate then.
//  4. SIGSTOP, then everything that QEMU had said before. A RESUME among it
//     is somebody else's doing: ErrResumedBySomeone.
//
// It waits on events only, as all of it is in the blackout. After an error
// the guest may run, or be stopped: call Thaw. A Write on stream that blocks
// does not keep Freeze from returning when ctx ends; Close waits for it. A
// stream that is an io.Closer is closed when the device state is whole.
func (g *Guest) Freeze(ctx context.Context, stream io.Writer) (vmm.Frozen, error) {
	if !g.prepared || g.migrating {
		return vmm.Frozen{}, errors.New("freeze the guest: call Prepare first, and Freeze once after it")
	}
	ctx, cancel := bound(ctx, captureTimeout)
	defer cancel()
	c := &capture{guest: g, events: g.monitor.Subscribe(captureEvents)}
	defer c.events.Close()
	if err := c.run(ctx, stream); err != nil {
		return vmm.Frozen{}, fmt.Errorf("freeze the guest: %w", g.explain(err))
	}
	c.frozen.StreamBytes = c.relay.bytes.Load()
	return c.frozen, nil
}

// capture is one run of Freeze.
type capture struct {
	guest     *Guest
	events    *qmp.Subscription
	relay     *relay
	frozen    vmm.Frozen
	completed bool
}

func (c *capture) run(ctx context.Context, stream io.Writer) error {
	if err := c.begin(ctx, stream); err != nil {
		return err
	}
	if err := c.follow(ctx); err != nil {
		c.relay.close()
		return c.relayFirst(err)
	}
	if err := c.confirm(ctx); err != nil {
		return err
	}
	return c.seal(ctx)
}

// begin starts the migration.
func (c *capture) begin(ctx context.Context, stream io.Writer) error {
	status, err := queries{c.guest.monitor}.status(ctx)
	if err != nil {
		return err
	}
	if status.Running != c.guest.state.WasRunning {
		return fmt.Errorf("%w: it is %s now", ErrStateChanged, status.Status)
	}
	c.frozen.WasRunning = status.Running
	relay, theirs, err := newRelay(stream)
	if err != nil {
		return err
	}
	defer unix.Close(theirs)
	c.relay = relay
	if err := c.migrate(ctx, theirs); err != nil {
		relay.close()
		return err
	}
	c.guest.relays.Go(relay.serve)
	return nil
}

// migrate passes the descriptor and starts the migration through it.
func (c *capture) migrate(ctx context.Context, fd int) error {
	monitor := c.guest.monitor
	name := map[string]string{"fdname": captureName}
	if err := monitor.ExecuteFD(ctx, "getfd", name, fd); err != nil {
		return err
	}
	c.guest.migrating, c.guest.continued = true, false
	err := monitor.Execute(ctx, "migrate", map[string]string{"uri": "fd:" + captureName}, nil)
	if isCommandError(err) { // QEMU has not taken the descriptor
		err = errors.Join(err, monitor.Execute(ctx, "closefd", name, nil))
	}
	return err
}

// follow waits until the migration is completed and the stream has ended.
func (c *capture) follow(ctx context.Context) error {
	ended := c.relay.ended
	for !c.completed || ended != nil {
		select {
		case e, ok := <-c.events.Events():
			if !ok {
				return c.events.Err()
			}
			if err := c.handle(ctx, e); err != nil {
				return err
			}
		case <-ended:
			if c.relay.err != nil {
				return c.relay.err
			}
			ended = nil
		case <-ctx.Done():
			return fmt.Errorf("wait for the device state: %w", context.Cause(ctx))
		}
	}
	return nil
}

func (c *capture) handle(ctx context.Context, e qmp.Event) error {
	switch e.Name {
	case "STOP":
		if c.frozen.WasRunning && c.frozen.Stopped.IsZero() {
			c.frozen.Stopped, c.frozen.StoppedReceived = e.Timestamp, e.Received
			c.guest.tellStopped(e.Received)
		}
	case "RESUME":
		return c.whyResumed(ctx)
	case "MIGRATION":
		var data struct {
			Status string `json:"status"`
		}
		if err := json.Unmarshal(e.Data, &data); err != nil {
			return fmt.Errorf("read the event MIGRATION: %w", err)
		}
		return c.handleMigration(ctx, data.Status)
	}
	return nil
}

func (c *capture) handleMigration(ctx context.Context, status string) error {
	switch status {
	case "pre-switchover":
		c.guest.tellStill()
		c.guest.continued = true
		args := map[string]string{"state": status}
		return c.guest.monitor.Execute(ctx, "migrate-continue", args, nil)
	case "completed":
		c.completed = true
	case "failed", "cancelled", "cancelling":
		return c.failure(ctx, status)
	}
	return nil
}

// failure asks QEMU why the migration failed.
func (c *capture) failure(ctx context.Context, status string) error {
	info, err := queries{c.guest.monitor}.migration(ctx)
	if err != nil || info.Error == "" {
		return fmt.Errorf("QEMU's migration is %s", status)
	}
	return fmt.Errorf("QEMU's migration is %s: %s", status, info.Error)
}

// whyResumed tells somebody's "cont" from the end of a failed migration.
func (c *capture) whyResumed(ctx context.Context) error {
	info, err := queries{c.guest.monitor}.migration(ctx)
	if err == nil && (info.Status == "failed" || info.Status == "cancelled") {
		return c.failure(ctx, info.Status)
	}
	return vmm.ErrResumedBySomeone
}

// relayFirst prefers the relay's error, which is the cause of QEMU's.
func (c *capture) relayFirst(err error) error {
	select {
	case <-c.relay.ended:
		if c.relay.err != nil && !errors.Is(err, c.relay.err) {
			return fmt.Errorf("%w (%w)", c.relay.err, err)
		}
	default:
	}
	return err
}

// confirm makes sure of the run state postmigrate. QEMU sets it before it
// closes the stream, so the first answer is the last one.
func (c *capture) confirm(ctx context.Context) error {
	status, err := queries{c.guest.monitor}.status(ctx)
	switch {
	case err != nil:
		return err
	case status.Running:
		return vmm.ErrResumedBySomeone
	case status.Status != "postmigrate":
		return fmt.Errorf("the guest is %s after a completed migration, not postmigrate", status.Status)
	case c.frozen.WasRunning && c.frozen.Stopped.IsZero():
		return errors.New("QEMU did not report the stop of the guest")
	}
	return nil
}

// seal stops the VMM's process and reads what it had said before.
func (c *capture) seal(ctx context.Context) error {
	if err := c.guest.stopProcess(ctx); err != nil {
		return err
	}
	if err := c.guest.monitor.Settle(ctx); err != nil {
		return err
	}
	for {
		select {
		case e, ok := <-c.events.Events():
			if !ok {
				return c.events.Err()
			}
			if e.Name == "RESUME" {
				return errors.Join(vmm.ErrResumedBySomeone, c.guest.resumeProcess())
			}
		default:
			return nil
		}
	}
}
