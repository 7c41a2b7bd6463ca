package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/lazymig/lazymig/bench/migrations"
	"github.com/spf13/cobra"
)

// benchMigrateFlags are the flags of bench migrate.
type benchMigrateFlags struct {
	factors    []string
	techniques []string
	repeat     int
	quick      bool
	out        string
	budget     time.Duration
	qemu       string
	accel      string
	tls        bool
	peerRAM    string
	json       bool
	bandwidth  string
	rtt        time.Duration
	jitter     time.Duration
	loss       float64
	guest      string
	hosts      []string
	sshConfig  string
}

// noLimit is the --bandwidth of a link without a limit.
const noLimit = "none"

// quickTechniques are what a first look compares, in a minute.
var quickTechniques = []string{string(migrations.Lazymig), string(migrations.PostCopyPreempt)}

func (a *app) benchMigrate() *cobra.Command {
	var f benchMigrateFlags
	command := &cobra.Command{
		Use:   "migrate",
		Short: "Measure lazymig against QEMU's own migration",
		Long: `Measure lazymig against QEMU's own migration: the same guest, the same link.

Each run boots a Linux guest in QEMU in one of two network namespaces, moves it
to the other, and verifies every word of its memory. One thing is varied at a
time around a base: 1 Gbit/s with a queue of 10 ms, no delay, no loss, a guest
that writes 600 MiB at random. Every run is a line of JSON in the file of
results; runs that are in it already are left out, so a measurement that was
stopped goes on where it was. A move that failed, or whose guest is not as it
was, is recorded as failed and is no data.

It needs root, QEMU, and what it takes to build the guest (gcc, busybox-static,
dpkg-deb; a Debian kernel is fetched once).

With --hosts the guests move between two machines instead, from the first to the
second one, over the network that they have. This machine needs ssh and what
builds the guest; the two need root logins without a question, QEMU and ip.
lazymig is copied to them, and nothing stays there. HOST=ADDRESS says where the
other one reaches it, if that is not where ssh does.

Exit codes: 0 all runs were made, failed ones too; 1 the measurement failed or
its time is over; 2 usage.`,
		Example: `  lazymig bench migrate --quick --out quick.jsonl
  lazymig bench migrate --factors link,rtt,loss,guest --out full.jsonl
  lazymig bench migrate --techniques lazymig,postcopy --rtt 25ms --out far.jsonl
  lazymig bench migrate --hosts root@kvm1,root@kvm2 --out metal.jsonl`,
		Args:                  cobra.NoArgs,
		DisableFlagsInUseLine: true,
		RunE: func(command *cobra.Command, _ []string) error {
			if err := f.onMetal(command.Flags()); err != nil {
				return err
			}
			return a.runBenchMigrate(&f)
		},
	}
	set := command.Flags()
	set.StringSliceVar(&f.factors, "factors", []string{"base"}, "vary `LIST` around the base: link, rtt, loss, guest, tls, cache")
	set.StringSliceVar(&f.techniques, "techniques", names(migrations.DefaultTechniques()), "measure `LIST`; precopy-throttled is one more, present the floor on one machine")
	set.IntVar(&f.repeat, "repeat", 3, "make each run `N` times")
	set.BoolVar(&f.quick, "quick", false, "one run each of lazymig and postcopy-preempt, about a minute")
	set.StringVar(&f.out, "out", "", "append the results to `FILE`, one JSON object per line")
	set.DurationVar(&f.budget, "budget", 2*time.Hour, "begin no run after `DURATION`")
	set.StringVar(&f.qemu, "qemu", "qemu-system-x86_64", "run guests with `PROGRAM`")
	set.StringVar(&f.accel, "accel", "tcg", "run guests by `tcg|kvm`; kvm is the default with --hosts")
	set.BoolVar(&f.tls, "tls", false, "encrypt QEMU's streams too (X.509)")
	set.StringVar(&f.peerRAM, "peer-ram", migrations.RAMShared, "hold the RAM for QEMU's techniques in `shared|plain` memory")
	set.StringVar(&f.bandwidth, "bandwidth", "1Gbit", "rate of the base's link, a `RATE` such as 100Mbit, or none")
	set.DurationVar(&f.rtt, "rtt", 0, "what the base's link adds to a round trip, a `DURATION`")
	set.DurationVar(&f.jitter, "jitter", 0, "delay each packet at random by up to `DURATION` more")
	set.Float64Var(&f.loss, "loss", 0, "`PERCENT` of packets that the base's link loses")
	set.StringVar(&f.guest, "guest", string(migrations.RandomWriter), "the base's guest: `random|sequential|idle|zero|incompressible|tenth|reader|files`")
	set.StringSliceVar(&f.hosts, "hosts", nil, "move guests from the first of two machines to the second, `A,B`, each HOST or HOST=ADDRESS")
	set.StringVar(&f.sshConfig, "ssh-config", "", "reach them as `FILE` tells ssh (default: ssh's own)")
	registerJSON(set, &f.json)
	return command
}

// names returns the names of techniques for a flag.
func names(techniques []migrations.Technique) []string {
	var list []string
	for _, t := range techniques {
		list = append(list, string(t))
	}
	return list
}

// plan returns the runs that the flags ask for.
func (f *benchMigrateFlags) plan() ([]migrations.Run, error) {
	if f.quick {
		f.repeat, f.techniques, f.factors = 1, quickTechniques, []string{"base"}
	}
	base, err := f.base()
	if err != nil {
		return nil, err
	}
	if f.repeat < 1 {
		return nil, usage("", "invalid --repeat %d: use 1 or more", f.repeat)
	}
	var factors []migrations.Factor
	for _, name := range f.factors {
		factor, err := migrations.ParseFactor(name)
		if err != nil {
			return nil, usage("", "invalid --factors: %w", err)
		}
		factors = append(factors, factor)
	}
	var techniques []migrations.Technique
	for _, name := range f.techniques {
		technique, err := migrations.ParseTechnique(name)
		if err != nil {
			return nil, usage("", "invalid --techniques: %w", err)
		}
		techniques = append(techniques, technique)
	}
	return migrations.Plan(base, factors, techniques, f.repeat), nil
}

// base returns the setting around which factors are varied.
func (f *benchMigrateFlags) base() (migrations.Setting, error) {
	s := migrations.Base()
	guest, err := migrations.ParseGuest(f.guest)
	if err != nil {
		return s, usage("", "invalid --guest: %w", err)
	}
	if !slices.Contains([]string{migrations.RAMShared, migrations.RAMPlain}, f.peerRAM) {
		return s, usage("", "invalid --peer-ram %q: use shared or plain", f.peerRAM)
	}
	if f.accel != "tcg" && f.accel != "kvm" {
		return s, usage("", "invalid --accel %q: use tcg or kvm", f.accel)
	}
	if f.loss < 0 || f.loss > 50 || f.rtt < 0 || f.rtt > time.Second || f.jitter < 0 || f.jitter > time.Second/2 {
		return s, usage("", "invalid link: --rtt to 1s, --jitter to 500ms, --loss to 50")
	}
	var bytes rate
	if f.bandwidth != noLimit {
		if err := bytes.Set(f.bandwidth); err != nil {
			return s, usage("", "invalid --bandwidth: %w", err)
		}
	}
	s.RateBits, s.Guest, s.RAM, s.TLS = 8*uint64(bytes), guest, f.peerRAM, f.tls
	s.RTTMS, s.JitterMS, s.Loss = inMilliseconds(f.rtt), inMilliseconds(f.jitter), f.loss/100
	return s, nil
}

func inMilliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// runBenchMigrate makes the runs and shows them.
func (a *app) runBenchMigrate(f *benchMigrateFlags) error {
	runs, err := f.plan()
	if err != nil {
		return err
	}
	if f.out == "" {
		return usage("a measurement that was stopped goes on with the same file", "give --out FILE")
	}
	program, err := os.Executable()
	if err != nil {
		return failed(exitFailed, err, "")
	}
	ctx, stop := interruptibleBySignals()
	defer stop()
	hosts, environment, err := f.open(ctx, program, runs)
	if err != nil {
		return err
	}
	if hosts != nil {
		a.tellHosts(hosts)
	}
	b := builtFrom()
	environment.Program, environment.Commit, environment.Accel = b.Version, b.Commit, f.accel
	table := &migrationTable{out: a.out, err: a.err, json: f.json}
	err = migrations.Measure(ctx, migrations.Config{
		Program: program, QEMU: f.qemu, Out: f.out, Runs: runs, Budget: f.budget, Environment: environment,
		Begun: table.begin, Ended: table.row, Hosts: hosts,
	})
	if hosts != nil {
		err = errors.Join(err, hosts.Close())
	}
	if err != nil {
		hint := hintOf(err)
		if errors.Is(err, migrations.ErrBudget) {
			hint = "run the same command again: it goes on with what is left"
		}
		return failed(exitFailed, err, hint)
	}
	table.end(f.out, len(runs))
	return nil
}

// tableLine has a row of the table in 80 columns.
const tableLine = "%-17s %-22s %8s %8s %8s %8s\n"

// describeLink says what is particular about a run's link and guest.
func describeLink(s migrations.Setting) string {
	parts := []string{string(s.Guest)}
	switch base := migrations.Base(); {
	case s.RateBits == 0:
		parts = append(parts, "no limit")
	case s.RateBits != base.RateBits:
		parts = append(parts, rateText(s.RateBits/8))
	}
	if s.RTTMS > 0 {
		parts = append(parts, fmt.Sprintf("%gms", s.RTTMS))
	}
	if s.Loss > 0 {
		parts = append(parts, fmt.Sprintf("%g%%", s.Loss*100))
	}
	if s.Cache != migrations.NoCache {
		parts = append(parts, string(s.Cache))
	}
	return strings.Join(parts, " ")
}
