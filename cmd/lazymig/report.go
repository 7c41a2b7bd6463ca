package main

import (
	"fmt"
	"io"
	"time"

	"github.com/lazymig/lazymig/internal/agent"
	"github.com/lazymig/lazymig/internal/migrate"
)

// writeReport tells in plain words how a migration ended.
func writeReport(out io.Writer, side agent.Kind, r migrate.Report) {
	say := func(format string, args ...any) {
		for _, line := range wrap(fmt.Sprintf(format, args...), lineWidth) {
			fmt.Fprintln(out, line)
		}
	}
	here, there := "here", "at the destination"
	if side == agent.KindReceive {
		here, there = "at the source", "here"
	}
	switch r.Outcome {
	case migrate.OutcomeChecked:
		say("Nothing stands against it: %s can be moved. Nothing was changed.", r.VM)
		return
	case migrate.OutcomeAborted:
		if side == agent.KindReceive && r.Epoch == 0 {
			say("Nothing has come of %s: it is where it was.", r.VM)
			return
		}
		say("%s was not moved: it is %s, as it was.", r.VM, here)
		return
	case migrate.OutcomeStopped:
		say("%s is stopped and needs a person. `lazymig status %s` says what is safe.", r.VM, r.VM)
	case migrate.OutcomePending:
		say("%s runs %s; pages are still missing.", r.VM, there)
	case migrate.OutcomeDone:
		say("%s has moved: it runs %s and needs the source no more.", r.VM, there)
		if r.Reason != "" {
			say("Note: %s.", r.Reason)
		}
	}
	writeFigures(say, side, r)
}

// writeFigures tells what the migration cost.
func writeFigures(say func(string, ...any), side agent.Kind, r migrate.Report) {
	if side == agent.KindSend && r.StoppedMS > 0 {
		say("It stood still for %.1f ms (give or take %.2g ms); the whole move took %s.", r.StoppedMS, r.StoppedErrorMS, took(r.TotalMS))
	} else {
		say("The whole move took %s.", took(r.TotalMS))
	}
	say("%d pages: %d zero, %d on demand, %d in the background, %d discarded.",
		r.PagesTotal, r.PagesZero, r.PagesDemand, r.PagesBulk, r.PagesDiscarded)
	say("%s sent, %s received, for %s of guest memory.", bytesText(r.BytesSent), bytesText(r.BytesReceived), bytesText(r.BytesRaw))
	if f := r.FaultUS.Remote; f.Count > 0 {
		say("The guest waited %d times for pages: %s ms median, p99 %s ms, max %s ms.",
			f.Count, milliseconds(f.P50), milliseconds(f.P99), milliseconds(f.Max))
	}
	if r.PagesPoisoned > 0 {
		say("%d pages were lost by the source's hardware; a program that touches one is ended.", r.PagesPoisoned)
	}
	if r.DigestMismatches > 0 {
		say("%d pages arrived damaged and were fetched again.", r.DigestMismatches)
	}
	if r.Reconnects > 0 {
		say("The link was lost and found again %d times.", r.Reconnects)
	}
}

// took returns milliseconds as a duration for people.
func took(ms float64) time.Duration {
	d := time.Duration(ms * float64(time.Millisecond))
	if d < time.Second {
		return d.Round(100 * time.Microsecond)
	}
	return d.Round(10 * time.Millisecond)
}
