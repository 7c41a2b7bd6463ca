package qemu

import (
	"context"
	"fmt"
	"time"

	"github.com/lazymig/lazymig/internal/vmm/qmp"
)

// Thaw takes everything since Prepare back: a guest that ran runs again and
// is announced on the network, one that was paused (or that somebody else has
// paused since) stays paused, and QEMU's migration settings are as they were.
// It works from any point, again after it failed, and does nothing where
// nothing is to do.
//
// A paused guest whose device state had been captured stays in QEMU's run
// state postmigrate: QEMU has no way back to "paused" but through running.
//
// The guest must not run anywhere else: that is for the caller to know.
func (g *Guest) Thaw(ctx context.Context) error {
	ctx, cancel := bound(ctx, thawTimeout)
	defer cancel()
	if err := g.thaw(ctx); err != nil {
		return fmt.Errorf("take the guest back: %w", g.explain(err))
	}
	return nil
}

func (g *Guest) thaw(ctx context.Context) error {
	if err := g.resumeProcess(); err != nil {
		return err
	}
	if err := g.connect(ctx); err != nil {
		return err
	}
	if g.migrating {
		if err := g.takeBack(ctx); err != nil {
			return err
		}
		g.migrating = false
	}
	return g.restoreSettings(ctx)
}

// takeBack ends a migration that was begun and lets the guest run.
func (g *Guest) takeBack(ctx context.Context) error {
	events := g.monitor.Subscribe(captureEvents)
	defer events.Close()
	t := thawing{guest: g, events: events}
	for {
		done, err := t.step(ctx)
		if err != nil {
			return err
		}
		if done {
			break
		}
		if err := t.wait(ctx); err != nil {
			return err
		}
	}
	if !g.state.WasRunning {
		return nil
	}
	return g.announce(ctx)
}

// thawing is one run of takeBack.
type thawing struct {
	guest     *Guest
	events    *qmp.Subscription
	cancelled bool      // migrate_cancel was sent
	continued bool      // cont was sent
	pushed    time.Time // when migrate-continue was sent to one that had been told to go on
}

// step does what the state calls for, and reports whether it is the wanted
// one. While the migration is under way "cont" is refused: it has to be
// cancelled, and QEMU lets the guest run then by itself.
func (t *thawing) step(ctx context.Context) (done bool, err error) {
	q := queries{t.guest.monitor}
	migration, err := q.migration(ctx)
	if err != nil {
		return false, err
	}
	if isMigrating(migration.Status) {
		return false, t.end(ctx, migration.Status)
	}
	state, err := q.status(ctx)
	switch {
	case err != nil:
		return false, err
	case state.Status == "finish-migrate":
		return false, nil // the migration's last steps, without an event
	case state.Running || !t.guest.state.WasRunning || state.Status != "postmigrate":
		return true, nil // any other state is somebody else's wish
	case t.continued:
		return false, nil
	}
	t.continued = true
	return false, t.guest.monitor.Execute(ctx, "cont", nil, nil)
}

// end has a migration come to its end. One that was told to leave pre-switchover,
// or may have been, must not be cancelled: it is told again. On the way to handing the disks over QEMU
// (seen with 7.2) gives up its lock, and a cancel that comes in between takes the
// disks back before they are gone: the guest runs without them, and QEMU ends
// with the guest's next write. The stream has ended or is broken, so the
// migration soon completes or fails. One continuation too many does no harm.
func (t *thawing) end(ctx context.Context, status string) error {
	switch {
	case status == "device":
		return nil
	case status != "pre-switchover" || !t.guest.continued:
		return t.cancel(ctx, status)
	case time.Since(t.pushed) < continueGrace:
		return nil
	}
	t.pushed = time.Now()
	return t.carryOn(ctx, status)
}

// carryOn wakes a migration that waits in the named state.
func (t *thawing) carryOn(ctx context.Context, status string) error {
	err := t.guest.monitor.Execute(ctx, "migrate-continue", map[string]string{"state": status}, nil)
	if isCommandError(err) {
		return nil // it is in another state by now
	}
	return err
}

// cancel cancels the migration. A cancel that comes between the stop of the
// guest and pre-switchover can go lost in QEMU (seen with 7.2): it sets the
// state to cancelling, and the migration's thread, which has checked for that
// already, waits to be continued for ever. A continuation that names the state
// cancelling wakes it; one too many does no harm.
func (t *thawing) cancel(ctx context.Context, status string) error {
	if !t.cancelled {
		t.cancelled = true
		return t.guest.monitor.Execute(ctx, "migrate_cancel", nil, nil)
	}
	if status != "cancelling" {
		return nil
	}
	return t.carryOn(ctx, status)
}

// wait waits for any event, or a moment.
func (t *thawing) wait(ctx context.Context) error {
	recheck := time.NewTimer(thawRecheck)
	defer recheck.Stop()
	select {
	case _, ok := <-t.events.Events():
		if !ok {
			return t.events.Err()
		}
	case <-recheck.C:
	case <-ctx.Done():
		return fmt.Errorf("wait until the guest runs: %w", context.Cause(ctx))
	}
	return nil
}

// isMigrating tells whether a migration in this state is under way.
func isMigrating(status string) bool {
	switch status {
	case "", "none", "completed", "failed", "cancelled":
		return false
	}
	return true
}

// announce makes QEMU announce the guest's network addresses for about a
// second, in case a switch has learnt another place for them.
func (g *Guest) announce(ctx context.Context) error {
	// QEMU's own rhythm, in milliseconds.
	args := map[string]int{"initial": 50, "max": 550, "rounds": 5, "step": 100}
	err := g.monitor.Execute(ctx, "announce-self", args, nil)
	if err != nil && !isUnknown(err) {
		return fmt.Errorf("announce the guest: %w", err)
	}
	return nil
}
