package main

import (
	"context"

	"github.com/lazymig/lazymig/internal/migrate"
	"github.com/spf13/cobra"
)

// serveMemoryFlags are the flags of serve-memory.
type serveMemoryFlags struct {
	serveFlags
	listen, memory string
	bandwidth      size
}

func (a *app) serveMemory() *cobra.Command {
	var f serveMemoryFlags
	command := &cobra.Command{
		Use:   "serve-memory --listen HOST:PORT --memory FILE",
		Short: "Serve the memory file of a snapshot to other hosts",
		Long: `Serve the memory file of a snapshot to other hosts, where lazymig serve-uffd
gives it to VMMs page by page.

Any number of clients may come at the same time. The file is only read, and must
not change: if its size or its time of modification does, nobody is served any
more, and the clients kill the VMMs that still need it, since their memory would
be wrong. A file that is open for writing is refused.

It ends with a signal. Clients then wait until a server for the same file is
back.

Exit codes: 0 ended by a signal; 1 failed, or the file has changed; 2 usage or
configuration.`,
		Example: `  lazymig serve-memory --listen 0.0.0.0:7001 --memory /srv/snapshots/web1.mem
  lazymig serve-memory --listen 127.0.0.1:7001 --memory m --insecure-loopback`,
		Args:                  cobra.NoArgs,
		DisableFlagsInUseLine: true,
		RunE: func(*cobra.Command, []string) error {
			if err := f.check("listen", f.listen); err != nil {
				return err
			}
			return a.serveMemoryUntilSignal(&f)
		},
	}
	set := command.Flags()
	f.register(set)
	set.StringVar(&f.cacheKey, "cache-key", "", "take the key of all digests from `FILE`, the same as the clients' (default: domain.key of --tls-dir)")
	set.StringVar(&f.listen, "listen", "", "wait for clients at `HOST:PORT`")
	set.StringVar(&f.memory, "memory", "", "serve this memory `FILE`")
	set.Var(&f.bandwidth, "bandwidth", "limit of each client's background in bytes per second, such as 500MB or 1GiB")
	require(command, "listen", "memory")
	return command
}

func (a *app) serveMemoryUntilSignal(f *serveMemoryFlags) error {
	identity, err := f.identity()
	if err != nil {
		return err
	}
	signals := newSignalSteps()
	defer signals.stop()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	signals.then(cancel)
	show := a.newServeDisplay(f.json, f.logFormat, "client")
	err = migrate.ServeMemory(ctx, migrate.ServeMemoryConfig{
		Listen: f.listen, Memory: f.memory, Identity: identity, Peer: f.peer,
		Bandwidth: uint64(f.bandwidth), Report: show.event,
	})
	return serveFailed(err)
}
