package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/lazymig/lazymig/internal/demo"
	"github.com/spf13/cobra"
)

// demoFlags are the flags of demo.
type demoFlags struct {
	vmm       string
	memory    size
	bandwidth rate
	rtt       time.Duration
	breakLink time.Duration
	json      bool
	repeat    int
	logDir    string
	measure   time.Duration
}

func (a *app) demo() *cobra.Command {
	f := demoFlags{memory: demo.DefaultMemory, bandwidth: demo.DefaultRate}
	command := &cobra.Command{
		Use:   "demo",
		Short: "Show a migration: both hosts and a live guest on this machine",
		Long: `Show a migration: both hosts and a live guest on this machine.

A guest runs, is moved by lazymig send and lazymig receive over QUIC with mutual
TLS, and is verified. The link between the hosts is simulated. Everything that
this makes is removed at the end, also after Ctrl-C.

Exit codes: 0 the guest's memory was verified; 1 it failed; 2 usage.`,
		Example: `  lazymig demo
  lazymig demo --bandwidth 1Gbit --rtt 20ms
  lazymig demo --break-link 5s`,
		Args:                  cobra.NoArgs,
		DisableFlagsInUseLine: true,
		RunE:                  func(*cobra.Command, []string) error { return a.runDemo(&f) },
	}
	set := command.Flags()
	set.StringVar(&f.vmm, "vmm", string(demo.Auto), "the guest runs in `auto|microvm|qemu`")
	set.Var(&f.memory, "memory", "memory of the guest, such as 64MiB or 1GiB")
	set.Lookup("memory").DefValue = fmt.Sprintf("%dMiB", demo.DefaultMemory>>20)
	set.Var(&f.bandwidth, "bandwidth", "rate of the link, such as 400Mbit or 50MB")
	set.Lookup("bandwidth").DefValue = fmt.Sprintf("%dMbit", demo.DefaultRate*8/1_000_000)
	set.DurationVar(&f.rtt, "rtt", demo.DefaultRTT, "what the link adds to a round trip, a `DURATION`")
	set.DurationVar(&f.breakLink, "break-link", 0, "cut the link for `DURATION` while the memory follows")
	registerJSON(set, &f.json)
	set.IntVar(&f.repeat, "repeat", 1, "do it `N` times, for tests")
	set.StringVar(&f.logDir, "log-dir", "", "keep the logs of a failed run in `DIR`")
	set.DurationVar(&f.measure, "measure", 0, "measure the guest's speed for `DURATION`")
	for _, name := range []string{"repeat", "log-dir", "measure"} {
		_ = set.MarkHidden(name) // it exists
	}
	return command
}

// runDemo runs the demonstration as often as wanted and shows it.
func (a *app) runDemo(f *demoFlags) error {
	if f.repeat < 1 {
		return usage("", "invalid --repeat %d: use 1 or more", f.repeat)
	}
	ctx, stop := interruptible()
	defer stop(nil)
	tell, err := a.teller(f, stop)
	if err != nil {
		return err
	}
	cfg := demo.Config{
		VMM: demo.VMM(f.vmm), Memory: wholeMiB(f.memory), Rate: uint64(f.bandwidth), RTT: f.rtt,
		BreakLink: f.breakLink, LogDir: f.logDir, Measure: f.measure, Report: tell,
	}
	for range f.repeat {
		_, err := demo.Run(ctx, cfg)
		if errors.Is(err, demo.ErrConfig) {
			return failed(exitUsage, err, hintOf(err))
		}
		if err != nil {
			return failed(exitFailed, err, hintOf(err))
		}
	}
	return nil
}

// wholeMiB rounds up: the guest's memory is in whole MiB.
func wholeMiB(n size) uint64 { return (uint64(n) + 1<<20 - 1) &^ (1<<20 - 1) }

// interruptible returns a context that ends at a signal, or with a cause. Also
// a closed pipe is a signal here: by default it would end the process with
// everything left behind.
func interruptible() (context.Context, context.CancelCauseFunc) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGPIPE)
	go func() {
		defer signal.Stop(signals)
		select {
		case s := <-signals:
			cancel(fmt.Errorf("stopped by %q", s))
			<-signals // one more changes nothing: cleaning up comes first
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// teller returns what shows the events.
func (a *app) teller(f *demoFlags, stop context.CancelCauseFunc) (func(demo.Event), error) {
	if f.json {
		lines := json.NewEncoder(a.out)
		return func(e demo.Event) {
			if err := lines.Encode(e); err != nil {
				stop(fmt.Errorf("write what happens: %w", err))
			}
		}, nil
	}
	s := &story{paper: newPaper(a.out)}
	if err := s.paper.fits(); err != nil {
		return nil, err
	}
	return func(e demo.Event) {
		if err := s.tell(e); err != nil {
			stop(fmt.Errorf("write what happens: %w", err))
		}
	}, nil
}
