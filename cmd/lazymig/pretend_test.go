package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/internal/agent"
	"github.com/lazymig/lazymig/internal/migrate"
	"github.com/lazymig/lazymig/internal/vmm"
)

// pretend is lazymig with an engine that only tells. What it tells is decided
// by the name of the VM.
func pretend(args []string) int {
	if len(args) > 0 && args[0] == "engine" {
		agent.SetLogFormat(strings.TrimPrefix(args[2], "--log-format="))
		return agent.Engine(pretendEngine)
	}
	return run(args)
}

// What pretended engines do.
const (
	vmMoves    = "moves"    // moves at once
	vmAborts   = "aborts"   // waits for a cancel and takes the migration back
	vmCommits  = "commits"  // hands the guest over and waits for a file named "arrive"
	vmBeatsYou = "beatsyou" // hands the guest over although it was cancelled
	vmRefused  = "refused"  // finds something in a dry run
	vmPasses   = "passes"   // finds nothing in a dry run
	vmDies     = "dies"     // is killed
	vmStops    = "stops"    // ends with the guest stopped
	vmWaits    = "waits"    // is a destination to which nobody comes
)

func pretendEngine(ctx context.Context, job agent.Job, publish func(string, any)) agent.Exit {
	tell := func(e migrate.Event) {
		e.Time = time.Now()
		publish(e.Event, e)
	}
	state := func(name string) { tell(migrate.Event{Event: migrate.EventState, State: name}) }
	epoch := lazymig.Epoch(1)
	end := func(outcome migrate.Outcome, err error) agent.Exit {
		report := migrate.Report{VM: job.VM, Epoch: epoch, Outcome: outcome, StoppedMS: 8.4, StoppedErrorMS: 0.1, TotalMS: 4321, PagesTotal: 262144}
		tell(migrate.Event{Event: migrate.EventReport, Report: &report})
		exit := agent.Exit{Code: migrate.ExitCode(report, err)}
		if err != nil {
			exit.Error, exit.Hint = err.Error(), "try again"
		}
		return exit
	}
	if job.VM == vmWaits {
		epoch = 0
		tell(migrate.Event{Event: migrate.EventMessage, Message: "waiting for waits"})
		<-ctx.Done()
		return end(migrate.OutcomeAborted, errors.New("cancelled"))
	}
	state("PREPARING")
	switch job.VM {
	case vmAborts:
		<-ctx.Done()
		return end(migrate.OutcomeAborted, errors.New("cancelled"))
	case vmCommits, vmBeatsYou:
		if job.VM == vmBeatsYou {
			<-ctx.Done()
		}
		state("CEDED")
		tell(migrate.Event{Event: migrate.EventProgress, Progress: &migrate.Progress{Total: 1000, Bulk: 500}})
		awaitFile(filepath.Join(job.StateDir, "arrive"))
		return end(migrate.OutcomeDone, nil)
	case vmRefused, vmPasses:
		return pretendChecks(job.VM, tell, end)
	case vmDies:
		return killSelf()
	case vmStops:
		return end(migrate.OutcomeStopped, errors.New("the VMM at the destination died"))
	}
	tell(migrate.Event{Event: migrate.EventMessage, Message: "hello"})
	tell(migrate.Event{Event: migrate.EventProgress, Progress: &migrate.Progress{Total: 262144, Bulk: 1000}})
	state("CEDED")
	state("RELEASED")
	return end(migrate.OutcomeDone, nil)
}

func pretendChecks(vm string, tell func(migrate.Event), end func(migrate.Outcome, error) agent.Exit) agent.Exit {
	check := func(side string, c vmm.Check) { tell(migrate.Event{Event: migrate.EventCheck, Side: side, Check: &c}) }
	check("source", vmm.Check{Name: "ram-shared", Status: vmm.StatusOK, Detail: "ram0 is a shared file, /dev/shm/" + strings.Repeat("long", 20)})
	if vm == vmPasses {
		return end(migrate.OutcomeChecked, nil)
	}
	check("destination", vmm.Check{
		Name: "space", Status: vmm.StatusRefused, Detail: "/dev/shm has 1.0 GiB free and the guest has allocated 2.0 GiB",
		Fix: "make room, or mount it with a larger size: mount -o remount,size=8G /dev/shm",
	})
	return end(migrate.OutcomeAborted, errors.New("the destination refuses: space"))
}

// awaitFile waits until a test has made a file.
func awaitFile(name string) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		if _, err := os.Stat(name); err == nil {
			return
		}
	}
}

// killSelf ends the process as the kernel's out-of-memory killer would.
func killSelf() agent.Exit {
	self, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = self.Kill()
	}
	return agent.Exit{Code: exitFailed, Error: err.Error()}
}
