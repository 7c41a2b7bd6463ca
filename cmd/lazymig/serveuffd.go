package main

import (
	"context"

	"github.com/lazymig/lazymig/internal/agent"
	"github.com/lazymig/lazymig/internal/migrate"
	"github.com/lazymig/lazymig/quictransport"
	"github.com/spf13/cobra"
)

// serveUffdFlags are the flags of serve-uffd.
type serveUffdFlags struct {
	serveFlags
	socket, from, memory string
	once, onDemand       bool
}

func (a *app) serveUffd() *cobra.Command {
	var f serveUffdFlags
	command := &cobra.Command{
		Use:   "serve-uffd --socket SOCKET (--from HOST:PORT | --memory FILE)",
		Short: "Give VMMs their memory page by page, as they touch it",
		Long: `Give VMMs their memory page by page, as they touch it: Firecracker, and every
VMM that hands its page faults over in the same way.

Any number of VMMs may connect to the socket. The pages that they wait for come
first, the rest in the background, from a lazymig serve-memory on another host
or from a file of this one. When all of its memory is in, a VMM needs nobody.
With --cache-dir, pages that this host has already do not cross the network
again: those of VMMs before, and of images that lazymig cache add knows.

While pages are missing the VMM depends on this process. If that is killed, the
VMM stalls for ever: it never reads zeros, and no new process can take it over.
If the memory is gone for good, the VMM is killed. Ctrl-C ends the service when
the VMMs that have come are complete; a second one kills those that are not.

Exit codes: 0 ended by a signal, or with --once the VMM is complete or has
ended; 1 failed, or with --once the VMM had to be killed; 2 usage or
configuration.`,
		Example: `  lazymig serve-uffd --socket /run/web1.uffd --from store1:7001
  lazymig serve-uffd --socket /run/web1.uffd --memory /srv/snapshots/web1.mem
  lazymig serve-uffd --socket uffd --from 127.0.0.1:7001 --insecure-loopback`,
		Args:                  cobra.NoArgs,
		DisableFlagsInUseLine: true,
		RunE: func(*cobra.Command, []string) error {
			if err := f.checkSource(); err != nil {
				return err
			}
			return a.serveFaults(&f)
		},
	}
	set := command.Flags()
	f.register(set)
	set.StringVar(&f.socket, "socket", "", "VMMs connect to `SOCKET`, which only this user may use")
	set.StringVar(&f.from, "from", "", "the memory is served by lazymig serve-memory at `HOST:PORT`")
	set.StringVar(&f.memory, "memory", "", "the memory is this `FILE`")
	f.registerCache(set)
	set.BoolVar(&f.onDemand, "on-demand", false, "bring only what a VMM touches: no background, and it depends on this process until it ends")
	set.BoolVar(&f.once, "once", false, "end with the service of the first VMM")
	require(command, "socket")
	command.MarkFlagsOneRequired("from", "memory")
	command.MarkFlagsMutuallyExclusive("from", "memory")
	return command
}

// checkSource checks the flags. A file of this host needs no identity.
func (f *serveUffdFlags) checkSource() error {
	if f.from != "" {
		return f.check("from", f.from)
	}
	if f.insecure || f.peer != "" || f.cacheDir != "" || f.cacheSize != 0 || f.cacheKey != "" {
		return usage("", "--insecure-loopback, --peer and --cache-… are for --from: a file needs no network")
	}
	return f.checkLogFormat()
}

func (a *app) serveFaults(f *serveUffdFlags) error {
	var identity *quictransport.Identity
	var err error
	var job agent.Job
	if f.from != "" {
		if err := f.cacheJob(&job); err != nil {
			return err
		}
		if identity, err = f.identity(); err != nil {
			return err
		}
	}
	signals := newSignalSteps()
	defer signals.stop()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	abandon := make(chan struct{})
	show := a.newServeDisplay(f.json, f.logFormat, "VMM")
	signals.then(func() {
		show.say("no more VMMs are taken; again to kill those that have pages missing")
		cancel()
	}, func() { close(abandon) })
	if _, err := agent.Harden(); err != nil {
		show.say("memory pressure may end this process: " + err.Error())
	}
	cache, closeCache, err := agent.OpenCache(job, identity, show.say)
	if err != nil {
		return failed(exitUsage, err, hintOf(err))
	}
	err = migrate.ServeFaults(ctx, migrate.ServeFaultsConfig{
		Socket: f.socket, From: f.from, Memory: f.memory, Identity: identity, Peer: f.peer,
		Cache: cache, OnDemand: f.onDemand, Once: f.once, Abandon: abandon, Report: show.event,
	})
	if problem := closeCache(); problem != nil {
		show.say(problem.Error())
	}
	return serveFailed(err)
}
