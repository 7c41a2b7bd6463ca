package migrate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/lazymig/lazymig/failover"
	"github.com/lazymig/lazymig/internal/vmm"
	"github.com/lazymig/lazymig/internal/vmm/process"
	"github.com/lazymig/lazymig/internal/wire"
	"github.com/lazymig/lazymig/quictransport"
)

// Keep is the work of a keeper process. It follows what its engine knows and
// ends with it, unless the engine dies: then it locks the journal and does
// what the last record allows.
//
//	source       no CEDED: the guest runs here again, and the destination
//	             learns of the abort
//	             CEDED: the guest stays frozen
//	destination  up to ARMED: the VMM is killed
//	             LOADED: the VMM stalls until the source decides; then it is
//	             killed, and a source that has ceded the guest takes it back
//	             OWNER: the guest is left as it is
//	             COMPLETE: the source is told
//
// specs has what the engine knows, newest last; gone is closed when the engine
// is no more and all of it was read.
func Keep(ctx context.Context, specs <-chan KeeperSpec, gone <-chan struct{}) error {
	var spec KeeperSpec
	for {
		select {
		case spec = <-specs:
			if spec.Done {
				return nil
			}
			continue
		case <-gone:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		return takeOver(ctx, spec)
	}
}

// keeper finishes what a dead engine left undone. One goroutine uses it.
type keeper struct {
	spec     KeeperSpec
	driver   *failover.Driver
	journal  *failover.Journal
	identity *quictransport.Identity
	link     *quictransport.Link
	listener *quictransport.Listener
	control  *control
	frames   chan inbound
	links    chan linked
	linking  context.CancelFunc // ends the attempt to link
	newer    chan struct{}      // a source of this VM has begun another migration
	trouble  error
}

func takeOver(ctx context.Context, spec KeeperSpec) error {
	dir, err := VMDir(spec.StateDir, spec.VM)
	if err != nil {
		return err
	}
	locking, cancel := context.WithTimeout(ctx, rollbackTimeout)
	defer cancel()
	journal, err := failover.AwaitJournal(locking, dir)
	if err != nil {
		return err
	}
	defer journal.Close()
	k := &keeper{spec: spec, journal: journal, frames: make(chan inbound, eventQueue), links: make(chan linked, 1), newer: make(chan struct{}, 1)}
	k.driver = failover.NewDriver(spec.machine(journal), journal, k.act)
	slog.Info("the engine has died", "state", k.driver.State(), "epoch", spec.Epoch)
	err = k.run(ctx)
	slog.Info("the keeper is done", "state", k.driver.State(), "error", err)
	return err
}

// machine restores the state machine of the attempt from the journal.
func (spec KeeperSpec) machine(journal *failover.Journal) failover.Machine {
	last, _ := journal.Last()
	if spec.Source {
		return failover.RestoreSource(last, spec.Epoch)
	}
	return failover.RestoreDestination(last, spec.Epoch)
}

// run lets the machine decide until there is nothing more for a keeper to do.
func (k *keeper) run(ctx context.Context) error {
	defer k.unlink()
	err := k.driver.Apply(failover.EventEngineLost, "the lazymig process died")
	patience, state := time.After(notifyTimeout), k.driver.State()
	tick := time.NewTicker(progressInterval)
	defer tick.Stop()
	for !k.over() {
		if k.spec.Source && k.driver.State() == failover.StateRunning {
			// Nothing is recorded any more: another send need not wait.
			err = errors.Join(err, k.journal.Close())
		}
		if err = errors.Join(err, k.trouble); err != nil && !errors.Is(err, failover.ErrNotRecorded) {
			return err
		}
		if now := k.driver.State(); now != state {
			patience, state = time.After(notifyTimeout), now
		}
		select {
		case l := <-k.links:
			err = k.linked(l)
		case f := <-k.frames:
			err = k.receive(f)
		case <-k.linkDone():
			k.unlink()
			err = k.driver.Apply(failover.EventPeerLost, "lost the link")
		case <-patience:
			if state != failover.StateLoaded { // only the source ends that
				err = k.driver.Apply(failover.EventGiveUp, "the other side did not answer")
			}
		case <-k.newer:
			err = k.driver.Apply(failover.EventAborted, "the source has begun another migration")
		case <-tick.C:
			err = k.driver.Retry()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return errors.Join(err, k.trouble)
}

// over reports whether the rest is for a person or a new engine.
func (k *keeper) over() bool {
	switch k.driver.State() {
	case failover.StateCeded, failover.StateOwner:
		return true
	case failover.StateNone, failover.StateRunning, failover.StatePreparing, failover.StateFrozen,
		failover.StateReleased, failover.StateReserved, failover.StateArmed, failover.StateLoaded,
		failover.StateComplete, failover.StateAbandoned, failover.StateRenounced:
	}
	return k.driver.Finished()
}

// act does what the state machine decided.
func (k *keeper) act(a failover.Action) {
	switch a.Kind {
	case failover.ActionResumeGuest:
		k.note(k.resumeGuest())
	case failover.ActionKillVMM:
		k.note(k.killVMM())
	case failover.ActionReconnect:
		k.note(k.reconnect())
	case failover.ActionSendAbort:
		k.tell(wire.Abort{Epoch: a.Epoch, Reason: a.Reason})
	case failover.ActionSendAbandoned:
		k.tell(wire.Abandoned{Epoch: a.Epoch, Reason: a.Reason})
	case failover.ActionSendRenounced:
		k.tell(wire.Renounced{Epoch: a.Epoch, Reason: a.Reason})
	case failover.ActionSendComplete:
		k.tell(wire.Complete{Epoch: a.Epoch, Document: []byte("{}")}) // the counts died with the engine
	case failover.ActionRecord, failover.ActionSyncJournal, failover.ActionFinish, failover.ActionRelease,
		failover.ActionArm, failover.ActionFreeze, failover.ActionSendArmed, failover.ActionSendReady,
		failover.ActionSendCommit, failover.ActionSendResumed,
		failover.ActionSendReleased, failover.ActionRunGuest:
		// Done by the driver, or only an engine's to do.
	}
}

func (k *keeper) note(err error) { k.trouble = errors.Join(k.trouble, err) }

// resumeGuest lets the guest at the source go on, unless the engine had done
// so before it left: somebody may have paused it since.
func (k *keeper) resumeGuest() error {
	if k.spec.Notify || k.spec.Thaw == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), rollbackTimeout)
	defer cancel()
	guest, err := reattach(ctx, k.spec.Kind, k.spec.Thaw)
	if errors.Is(err, vmm.ErrGone) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(guest.Thaw(ctx), guest.Close())
}

// killVMM kills what a destination has started and removes what was made for
// it. The VMM of a source is killed by engines only.
func (k *keeper) killVMM() error {
	if k.spec.Source {
		return nil
	}
	if err := process.KillMarked(process.Mark(k.spec.Tag)); err != nil {
		return fmt.Errorf("kill the VMM of the destination: %w", err)
	}
	var errs []error
	for _, path := range append(k.spec.Remove, k.spec.Monitor) {
		if err := os.Remove(path); !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
