package qemu

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lazymig/lazymig/internal/vmm/process"
	"github.com/lazymig/lazymig/internal/vmm/qmp"
)

// Start starts QEMU in a session of its own, connects to its private monitor
// and sets it up for the migration. On an error no QEMU is left.
func (i *Incoming) Start(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("QEMU did not come up in %v", startTimeout))
	defer cancel()
	if err := i.refuseLiveSockets(); err != nil {
		return err
	}
	if err := i.launch(); err != nil {
		return err
	}
	err := i.connect(ctx)
	if err == nil {
		err = errors.Join(i.checkBackends(ctx), i.configure(ctx))
	}
	if err != nil {
		return errors.Join(err, i.abandon())
	}
	return nil
}

// launch starts the command with its output in the log.
func (i *Incoming) launch() error {
	paths := make(map[string]string)
	for _, f := range i.files {
		paths[f.id] = f.path
	}
	args, err := i.command.arguments(paths, i.QMPPath(), i.config.Tag)
	if err != nil {
		return err
	}
	i.launcher, err = process.Start(args, i.LogPath(), i.mark())
	if err != nil {
		return fmt.Errorf("start QEMU: %w", err)
	}
	return nil
}

// connect waits for the monitor and finds out which process QEMU is.
func (i *Incoming) connect(ctx context.Context) error {
	if err := i.launcher.SetOOMScore(i.config.OOMScoreAdj); err != nil {
		return err
	}
	client, err := i.dial(ctx)
	if err != nil {
		return err
	}
	i.client = client
	pid := client.PeerPID()
	if pid == i.launcher.PID {
		i.process = i.launcher
	} else if i.process, err = process.Watch(pid, nil); err != nil {
		return fmt.Errorf("find QEMU's process: %w", err)
	}
	i.served = make(chan struct{})
	go i.serveEvents(client.Subscribe(eventBuffer))
	// An answer shows that the process opened a moment ago is QEMU and not
	// one that got its number later.
	if err := client.Execute(ctx, "query-status", nil, nil); err != nil {
		return i.explain(fmt.Errorf("ask QEMU for its status: %w", err))
	}
	return i.process.SetOOMScore(i.config.OOMScoreAdj)
}

// dial tries until the monitor answers, QEMU ends or the time is over.
func (i *Incoming) dial(ctx context.Context) (*qmp.Client, error) {
	for {
		isDaemon := i.launcher.HasExited()
		if isDaemon && (!i.command.daemonize || !i.launcher.Child.ProcessState.Success()) {
			return nil, i.ended(fmt.Errorf("start QEMU: it ended at once (%v)", i.launcher.Child.ProcessState))
		}
		client, err := qmp.Dial(ctx, i.QMPPath())
		if err == nil {
			return client, nil
		}
		if isDaemon {
			return nil, i.ended(fmt.Errorf("start QEMU: it ended behind -daemonize: %w", err))
		}
		select {
		case <-time.After(dialInterval):
		case <-i.launcher.Exited():
		case <-ctx.Done():
			return nil, i.ended(fmt.Errorf("start QEMU: %w (a server socket without wait=off on the command line makes it wait): %w",
				context.Cause(ctx), err))
		}
	}
}

// explain adds QEMU's last words to an error of a command, if QEMU has ended.
func (i *Incoming) explain(err error) error {
	if err == nil || i.client.Err() == nil {
		return err
	}
	select {
	case <-i.exited:
		return i.ended(fmt.Errorf("QEMU has ended: %w", err))
	case <-time.After(drainTimeout):
		return err
	}
}

func (i *Incoming) mark() string { return process.Mark(i.config.Tag) }

// abandon kills what a failed start has left.
func (i *Incoming) abandon() error {
	problems := []error{i.launcher.End()}
	if i.process != nil {
		problems = append(problems, i.process.End())
	}
	problems = append(problems, process.KillMarked(i.mark()))
	if err := errors.Join(problems...); err != nil {
		return err
	}
	if i.served == nil {
		close(i.exited) // otherwise serveEvents does
	} else {
		<-i.served
	}
	return nil
}
