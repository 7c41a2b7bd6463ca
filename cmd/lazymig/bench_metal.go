package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/lazymig/lazymig/bench/metal"
	"github.com/lazymig/lazymig/bench/migrations"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// shapers are the flags for a link that this machine makes.
var shapers = []string{"bandwidth", "rtt", "jitter", "loss"}

// onMetal checks the flags if two machines are given, whose link is as it is,
// and sets the defaults for them.
func (f *benchMigrateFlags) onMetal(set *pflag.FlagSet) error {
	if !set.Changed("hosts") {
		if f.sshConfig != "" {
			return usage("", "--ssh-config is for --hosts")
		}
		return nil
	}
	if len(f.hosts) != 2 {
		return usage("", "invalid --hosts: name two, the source and the destination: --hosts A,B")
	}
	for _, name := range shapers {
		if set.Changed(name) {
			return usage("leave it out: the link between two machines is as it is", "--%s does not go with --hosts", name)
		}
	}
	for _, factor := range f.factors {
		if slices.Contains([]string{string(migrations.FactorLink), string(migrations.FactorRTT), string(migrations.FactorLoss)}, factor) {
			return usage("--factors guest varies the guest; the link between two machines is as it is", "the factor %q does not go with --hosts", factor)
		}
	}
	if slices.Contains(f.techniques, string(migrations.Present)) {
		return usage("", "the technique %q does not go with --hosts: both QEMUs map one RAM file", migrations.Present)
	}
	f.bandwidth = noLimit
	if !set.Changed("accel") {
		f.accel = "kvm"
	}
	return nil
}

// open connects the two machines, if there are any, and describes where runs
// are made.
func (f *benchMigrateFlags) open(ctx context.Context, program string, runs []migrations.Run) (*metal.Hosts, migrations.Environment, error) {
	if len(f.hosts) == 0 {
		e, err := migrations.Here(ctx, f.qemu)
		if err != nil {
			return nil, e, failed(exitFailed, err, "install qemu-system-x86, or name the program with --qemu")
		}
		return nil, e, nil
	}
	config := metal.Config{Program: program, QEMU: f.qemu, Accel: f.accel, UDP: migrations.OwnPort, TCP: migrations.PeerPort, SSH: []string{"ssh"}}
	if f.sshConfig != "" {
		if _, err := os.Stat(f.sshConfig); err != nil {
			return nil, migrations.Environment{}, usage("", "invalid --ssh-config: %w", err)
		}
		config.SSH = append(config.SSH, "-F", f.sshConfig)
	}
	for i, text := range f.hosts {
		var err error
		if config.Targets[i], err = metal.ParseTarget(text); err != nil {
			return nil, migrations.Environment{}, usage("", "invalid --hosts: %w", err)
		}
	}
	for _, r := range runs {
		config.MemoryMiB = max(config.MemoryMiB, r.Setting.MemoryMiB)
	}
	hosts, err := metal.Open(ctx, config)
	if err != nil {
		return nil, migrations.Environment{}, failed(exitFailed, err, hintOf(err))
	}
	return hosts, migrations.Between(hosts), nil
}

// tellHosts says what two machines are, and in what they differ.
func (a *app) tellHosts(hosts *metal.Hosts) {
	f := hosts.Facts()
	var texts []string
	for i, t := range hosts.Targets() {
		m := f[i].Machine
		texts = append(texts, fmt.Sprintf("%s at %s: %s, %d cores, %d MiB, Linux %s, QEMU %s",
			t.Login, t.Address, m.CPU, m.Cores, m.MemoryBytes>>20, m.Kernel, f[i].QEMU))
	}
	if f[0].QEMU != f[1].QEMU {
		texts = append(texts, "the two have different versions of QEMU: guests may not move")
	}
	if f[0].Machine.CPU != f[1].Machine.CPU {
		texts = append(texts, "the two have different processors: the guest's speed changes as it moves")
	}
	for _, text := range texts {
		for _, line := range wrap("lazymig: "+text, sheetWidth) {
			fmt.Fprintln(a.err, line)
		}
	}
}

// interruptibleBySignals returns a context that ends with a signal, but not with
// a broken pipe: one to ssh is found where it matters, and must not stop what
// cleans up.
func interruptibleBySignals() (context.Context, context.CancelFunc) {
	unread := make(chan os.Signal, 1)
	signal.Notify(unread, syscall.SIGPIPE) // else the first one on standard output would kill
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	return ctx, stop
}

// benchHost is the command that runs on each of two machines.
func (a *app) benchHost() *cobra.Command {
	return &cobra.Command{
		Use: "host DIR", Hidden: true, Args: cobra.ExactArgs(1),
		Short: "Do on this machine what a measurement asks for",
		RunE: func(_ *cobra.Command, args []string) error {
			ctx, stop := interruptibleBySignals()
			defer stop()
			if err := metal.Serve(ctx, os.Stdin, a.out, args[0]); err != nil {
				return failed(exitFailed, err, "")
			}
			return nil
		},
	}
}
