package agent

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/lazymig/lazymig/internal/migrate"
)

// Migrate is the Runner that moves guests.
func Migrate(ctx context.Context, job Job, publish func(kind string, event any)) Exit {
	identity, err := loadIdentity(job)
	if err != nil {
		return exitFor(exitUsage, err)
	}
	dir, err := migrate.VMDir(job.StateDir, job.VM)
	if err != nil {
		return exitFor(exitUsage, err)
	}
	link := &keeperLink{vm: job.VM, dir: dir, logFormat: job.LogFormat}
	keeper := func(spec migrate.KeeperSpec) error {
		spec.TLSDir = job.TLSDir
		return link.send(spec, spec.Done)
	}
	tell := func(e migrate.Event) { publish(e.Event, e) }
	cache, done, err := OpenCache(job, identity, func(text string) { tell(migrate.Event{Event: migrate.EventMessage, Time: time.Now(), Message: text}) })
	if err != nil {
		return exitFor(exitUsage, err)
	}
	var report migrate.Report
	if job.Kind == KindSend {
		report, err = migrate.Send(ctx, migrate.SendConfig{
			QMP: job.QMP, MicroVM: job.MicroVM, To: job.To, VM: job.VM, StateDir: job.StateDir, Identity: identity, Peer: job.Peer,
			ReadyTimeout: job.ReadyTimeout, Bandwidth: job.Bandwidth, DryRun: job.DryRun, KeepRAM: job.KeepRAM,
			Cache: cache, Warm: job.Warm, Report: tell, Keeper: keeper,
		})
	} else {
		report, err = migrate.Receive(ctx, migrate.ReceiveConfig{
			Listen: job.Listen, VM: job.VM, StateDir: job.StateDir, Identity: identity, Peer: job.Peer,
			Args: job.Args, OOMScoreAdj: job.OOMScoreAdj, Prefetch: job.Prefetch, Trace: job.Trace, TraceFor: job.TraceFor,
			FaultWaits: job.Metrics != "", MapCells: job.MapCells,
			Cache: cache, Report: tell, Keeper: keeper,
		})
	}
	if problem := done(); problem != nil {
		slog.Warn("closed the cache", "error", problem)
	}
	if errors.Is(err, migrate.ErrConfig) {
		return exitFor(exitUsage, err)
	}
	return exitFor(migrate.ExitCode(report, err), err)
}
