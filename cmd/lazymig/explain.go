package main

import (
	"encoding/json"
	"fmt"

	"github.com/lazymig/lazymig/failover"
	"github.com/lazymig/lazymig/internal/agent"
	"github.com/lazymig/lazymig/internal/migrate"
)

const (
	nothingToDo = "nothing to do"
	wait        = "wait"
	// withoutIdentity is the name of a source that has no certificate.
	withoutIdentity = "insecure-loopback"
	coldBoot        = "If it must run again at once: end its QEMU on both hosts for certain, then boot it from its disks."
)

// explain says in plain words what the newest record of a VM means and what
// can be done safely. Without an engine, only the keeper may still be at work.
func explain(vm string, r failover.Record, engine *agent.Snapshot) (summary, next string) {
	if r.Peer == withoutIdentity {
		r.Peer = "the source"
	}
	if engine == nil {
		return explainAlone(vm, r)
	}
	cancel := fmt.Sprintf("wait, or take it back with `lazymig cancel %s`", vm)
	switch r.State {
	case failover.StatePreparing:
		return "it is here; its move to " + r.Peer + " is being prepared", cancel
	case failover.StateFrozen:
		return "it stands still for the switch to " + r.Peer, cancel
	case failover.StateCeded:
		return "it belongs to " + r.Peer + "; this host still serves its memory", wait + "; do not start it here"
	case failover.StateReserved, failover.StateArmed:
		return "it is on its way from " + r.Peer + " and still there", cancel
	case failover.StateLoaded:
		return "its devices are loaded here; the source decides now", wait
	case failover.StateOwner:
		return "it runs here; its memory is still coming from " + r.Peer, wait + "; leave the source's host up"
	case failover.StateComplete:
		return "it runs here and needs the source no more", wait + "; the engine is about to end"
	case failover.StateReleased:
		return "it has moved to " + r.Peer, wait + "; the engine is about to end"
	case failover.StateNone, failover.StateRunning, failover.StateAbandoned, failover.StateRenounced:
	}
	if engine.Kind == agent.KindReceive {
		return "this host waits for it at " + engine.Peer, "send it, or end the wait with `lazymig cancel " + vm + "`"
	}
	return "it is here; its move to " + engine.Peer + " is being checked", cancel
}

// explainAlone is explain for a VM that no engine works on.
func explainAlone(vm string, r failover.Record) (summary, next string) {
	switch r.State {
	case failover.StateNone:
		return "nothing is known of it", nothingToDo
	case failover.StateRunning:
		return "it is here; the last attempt to move it was taken back", nothingToDo + "; `lazymig send` can try again"
	case failover.StatePreparing, failover.StateFrozen:
		return "it is here; lazymig died while it moved it, and its keeper lets it go on",
			"look again in some seconds. If this stays: `kill -CONT` its QEMU and say `cont` on its monitor. That is safe, it was not handed over."
	case failover.StateCeded:
		return "it belongs to " + r.Peer + "; lazymig died here, so it waits there for pages that it has not got",
			"do not start it here, do not let its QEMU here go on, keep its RAM file. Going on with such a migration is not built yet. " + coldBoot
	case failover.StateReleased:
		return "it has moved to " + r.Peer + "; nothing of it is needed here", nothingToDo
	case failover.StateReserved, failover.StateArmed:
		return "it did not come; it is at " + r.Peer, nothingToDo + "; the keeper takes away what was made ready here"
	case failover.StateLoaded:
		return "its devices are loaded here, lazymig died, and only the source knows whose it is",
			fmt.Sprintf("ask there: `lazymig status %s` at %s. Do not start it here. If it is running there, end its QEMU here.", vm, r.Peer)
	case failover.StateOwner:
		return "it belongs here; lazymig died, so it waits for pages that it has not got (it never reads zeros)",
			"leave its QEMU here and everything at " + r.Peer + " as they are. Going on with such a migration is not built yet. " + coldBoot
	case failover.StateComplete:
		return "it has arrived from " + r.Peer + " and needs the source no more", nothingToDo
	case failover.StateAbandoned:
		return "it did not come; it is at " + r.Peer, nothingToDo
	case failover.StateRenounced:
		return "it never ran here and was given back to " + r.Peer, nothingToDo
	}
	return "its state " + r.State.String() + " is of a newer lazymig", "use that version"
}

// progressLine returns the pages of a running migration by origin.
func progressLine(engine agent.Snapshot) string {
	var e migrate.Event
	if json.Unmarshal(engine.Last[migrate.EventProgress], &e) != nil || e.Progress == nil {
		return ""
	}
	p := *e.Progress
	return fmt.Sprintf("%d of %d: %d zero, %d on demand, %d in the background", p.Known(), p.Total, p.Zero, p.Demand, p.Bulk)
}
