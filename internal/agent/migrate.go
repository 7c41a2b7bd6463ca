package agent

import (
	"context"
	"errors"

	"github.com/lazymig/lazymig/internal/migrate"
	"github.com/lazymig/lazymig/quictransport"
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
	var report migrate.Report
	if job.Kind == KindSend {
		report, err = migrate.Send(ctx, migrate.SendConfig{
			QMP: job.QMP, MicroVM: job.MicroVM, To: job.To, VM: job.VM, StateDir: job.StateDir, Identity: identity, Peer: job.Peer,
			ReadyTimeout: job.ReadyTimeout, Bandwidth: job.Bandwidth, DryRun: job.DryRun, KeepRAM: job.KeepRAM,
			Report: tell, Keeper: keeper,
		})
	} else {
		report, err = migrate.Receive(ctx, migrate.ReceiveConfig{
			Listen: job.Listen, VM: job.VM, StateDir: job.StateDir, Identity: identity, Peer: job.Peer,
			Args: job.Args, OOMScoreAdj: job.OOMScoreAdj, FaultWaits: job.Metrics != "", MapCells: job.MapCells,
			Report: tell, Keeper: keeper,
		})
	}
	if errors.Is(err, migrate.ErrConfig) {
		return exitFor(exitUsage, err)
	}
	return exitFor(migrate.ExitCode(report, err), err)
}

func loadIdentity(job Job) (*quictransport.Identity, error) {
	if job.Insecure {
		return quictransport.InsecureLoopback()
	}
	return quictransport.LoadIdentity(job.TLSDir)
}
