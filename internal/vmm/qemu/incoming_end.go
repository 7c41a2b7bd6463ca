package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/lazymig/lazymig/internal/vmm/process"
)

// Kill ends QEMU at once and waits for its end. It works on a QEMU that hangs
// on a missing page. Before Start, and for a QEMU that has ended, it does
// nothing.
func (i *Incoming) Kill(ctx context.Context) error {
	if i.process == nil {
		return nil
	}
	ctx, cancel := bound(ctx, killTimeout)
	defer cancel()
	if err := i.process.Kill(); err != nil {
		return err
	}
	select {
	case <-i.exited:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("kill QEMU (process %d): %w", i.process.PID, context.Cause(ctx))
	}
}

// Remove unlinks the RAM files that Create made, and the monitor's socket. It
// refuses while QEMU runs: its RAM would lose its name.
func (i *Incoming) Remove() error {
	if i.process != nil && !i.process.HasExited() {
		return fmt.Errorf("remove the RAM files: QEMU (process %d) still runs, kill it first", i.process.PID)
	}
	problems := []error{i.removeFiles()}
	monitor := serverSocket{path: i.QMPPath()}
	if alive, err := monitor.isAlive(); err == nil && !alive {
		err := os.Remove(i.QMPPath())
		if !errors.Is(err, os.ErrNotExist) {
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}

func (i *Incoming) removeFiles() error {
	var problems []error
	for _, f := range i.files {
		if f.file != nil {
			problems = append(problems, f.remove())
		}
	}
	return errors.Join(problems...)
}

func (i *Incoming) closeFiles() error {
	var problems []error
	for _, f := range i.files {
		problems = append(problems, f.close())
	}
	return errors.Join(problems...)
}

// Detach closes everything that Incoming holds and leaves QEMU as it is, with
// its own copy of the userfaultfd. If the guest has arrived, QEMU's migration
// settings are put back first. Calls after the first do nothing.
func (i *Incoming) Detach() error {
	if i.isDetached {
		return nil
	}
	i.isDetached = true
	close(i.detached)
	var problems []error
	if i.served != nil {
		problems = append(problems, i.settle())
		<-i.served
	}
	if i.client != nil {
		problems = append(problems, i.client.Close())
	}
	for _, p := range []*process.Process{i.process, i.launcher} {
		if p != nil {
			p.Release()
		}
	}
	return errors.Join(append(problems, i.closeFiles())...)
}
