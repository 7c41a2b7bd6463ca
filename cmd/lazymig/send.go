package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/lazymig/lazymig/internal/agent"
	"github.com/lazymig/lazymig/internal/migrate"
	"github.com/lazymig/lazymig/internal/vmm/microvm"
	"github.com/lazymig/lazymig/internal/vmm/qemu"
	"github.com/spf13/cobra"
)

const (
	// defaultReadyTimeout bounds the stop of a guest that cannot move.
	defaultReadyTimeout = 2 * time.Second
	// defaultWarmFor bounds warming: a guest of 64 GiB is hashed twice in that
	// time.
	defaultWarmFor = 2 * time.Minute
	// nameTimeout bounds asking a QEMU for its guest's name.
	nameTimeout = 5 * time.Second
)

// sendFlags are the flags of send.
type sendFlags struct {
	sideFlags
	qmp, microvm string
	to           string
	bandwidth    size
	readyTimeout time.Duration
	keepRAM      bool
	dryRun       bool
	warm         bool
	warmFor      time.Duration
	warmRate     size
	warmCPU      int
}

func (a *app) send() *cobra.Command {
	var f sendFlags
	command := &cobra.Command{
		Use:   "send --qmp SOCKET --to HOST:PORT",
		Short: "Send a running guest to a host where lazymig receive waits",
		Long: `Send a running guest to a host where lazymig receive waits.

The guest stops here, resumes there within milliseconds, and its memory follows.
Until then everything that fails leaves it running here. After that, this host
keeps its memory until all of it has arrived; then QEMU here is gone.

Ctrl-C takes the migration back as long as that is possible. Later it leaves the
migration alone, which goes on by itself: lazymig status NAME --follow shows it.

Exit codes: 0 done; 1 failed, the guest runs here; 2 usage or configuration;
3 the guest runs at the destination, pages are still missing; 4 the guest is
stopped and needs a person.`,
		Example: `  lazymig send --qmp /run/web1.qmp --to 192.0.2.7:7000 --dry-run
  lazymig send --qmp /run/web1.qmp --to 192.0.2.7:7000 --peer host7
  lazymig send --qmp /run/web1.qmp --to 127.0.0.1:7000 --insecure-loopback`,
		Args:                  cobra.NoArgs,
		DisableFlagsInUseLine: true,
		RunE: func(command *cobra.Command, _ []string) error {
			job, err := f.job(command.Context())
			if err != nil {
				return err
			}
			return a.frontEnd(job, &f.sideFlags)
		},
	}
	set := command.Flags()
	f.register(set)
	set.StringVar(&f.qmp, "qmp", "", "talk to the guest's QEMU by this QMP `SOCKET`, which nobody else uses")
	set.StringVar(&f.microvm, "microvm", "", "talk to the embedded VMM by this control `SOCKET`, instead of --qmp")
	set.StringVar(&f.to, "to", "", "lazymig receive listens at `HOST:PORT`")
	set.Var(&f.bandwidth, "bandwidth", "limit of the background in bytes per second, such as 500MB or 1GiB")
	set.DurationVar(&f.readyTimeout, "ready-timeout", defaultReadyTimeout, "let the guest go on here if the destination is not ready `DURATION` after the stop")
	set.BoolVar(&f.keepRAM, "keep-ram", false, "keep the guest's RAM file on this host after it has moved")
	set.BoolVar(&f.warm, "warm", false, "while the guest still runs, bring pages that look stable to the cache of the destination")
	set.DurationVar(&f.warmFor, "warm-for", defaultWarmFor, "warm for `DURATION` at most")
	set.Var(&f.warmRate, "warm-bandwidth", "limit of warming in bytes per second, such as 100MB")
	set.IntVar(&f.warmCPU, "warm-cpu", 100, "warm with at most `PERCENT` of one processor, at low priority")
	set.BoolVar(&f.dryRun, "dry-run", false, "check both hosts, move nothing")
	require(command, "to")
	return command
}

// job checks the flags and makes the engine's job of them.
func (f *sendFlags) job(ctx context.Context) (agent.Job, error) {
	job, err := f.sideFlags.job(agent.KindSend, "to", f.to)
	if err != nil {
		return job, err
	}
	if f.readyTimeout <= 0 {
		return job, usage("", "invalid --ready-timeout %v: use more than 0", f.readyTimeout)
	}
	if (f.qmp == "") == (f.microvm == "") {
		return job, usage("give the guest's monitor by --qmp SOCKET", "which guest? Exactly one of --qmp and --microvm has to be given")
	}
	if err := checkMonitor(f.qmp + f.microvm); err != nil {
		return job, err
	}
	if job.VM == "" {
		if job.VM, err = f.guestName(ctx); err != nil {
			return job, err
		}
	}
	job.QMP, job.MicroVM, job.To, job.Bandwidth = f.qmp, f.microvm, f.to, uint64(f.bandwidth)
	if job.Warm, err = f.warming(); err != nil {
		return job, err
	}
	job.ReadyTimeout, job.KeepRAM, job.DryRun = f.readyTimeout, f.keepRAM, f.dryRun
	return job, checkName(job)
}

// warming checks the flags of warming.
func (f *sendFlags) warming() (migrate.WarmConfig, error) {
	if f.warmFor <= 0 || f.warmCPU < 1 || f.warmCPU > 100 {
		return migrate.WarmConfig{}, usage("", "invalid --warm-for %v or --warm-cpu %d: use more than 0, and 1 to 100", f.warmFor, f.warmCPU)
	}
	if !f.warm {
		return migrate.WarmConfig{}, nil
	}
	return migrate.WarmConfig{For: f.warmFor, Bandwidth: uint64(f.warmRate), CPU: float64(f.warmCPU) / 100}, nil
}

// checkMonitor fails for a path that cannot be a monitor's.
func checkMonitor(path string) error {
	const hint = "give the PATH of QEMU's -qmp unix:PATH,server=on,wait=off"
	info, err := os.Stat(path)
	if err != nil {
		return failed(exitUsage, fmt.Errorf("find the monitor: %w", err), hint)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return usage(hint, "find the monitor: %s is not a socket", path)
	}
	return nil
}

// guestName asks the VMM for its guest's name.
func (f *sendFlags) guestName(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, nameTimeout)
	defer cancel()
	if f.microvm != "" {
		status, err := microvm.Ask(ctx, f.microvm)
		return status.Name, err
	}
	name, err := qemu.GuestName(ctx, f.qmp)
	if err != nil {
		return "", failed(exitFailed, fmt.Errorf("ask for the guest's name: %w", err), hintOf(err))
	}
	if name == "" {
		return "", usage("give it one with --vm NAME, the same on both sides", "the guest has no name: its QEMU runs without -name")
	}
	return name, nil
}

// checkName fails for a name that a VM cannot have.
func checkName(job agent.Job) error {
	if _, err := migrate.VMDir(job.StateDir, job.VM); err != nil {
		return failed(exitUsage, err, "give another name with --vm NAME, the same on both sides")
	}
	return nil
}

// require marks flags that must be given.
func require(command *cobra.Command, flags ...string) {
	for _, name := range flags {
		if err := command.MarkFlagRequired(name); err != nil {
			panic(err) // the flag was not registered
		}
	}
}
