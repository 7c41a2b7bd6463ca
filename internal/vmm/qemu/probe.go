package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/lazymig/lazymig/internal/vmm/process"
)

// Probed is what a QEMU program can do, as it showed itself.
type Probed struct {
	// Path is where the program was found.
	Path string
	// Version is QEMU's own.
	Version Version
	// Missing lists the migration capabilities and parameters that lazymig
	// needs, on either side, and this QEMU does not have.
	Missing []string
	// Accelerators are those that it was built with; empty if it does not say.
	Accelerators []string
	// Userfaultfd is why no userfaultfd could be made inside it as Arm does;
	// nil if that worked.
	Userfaultfd error
}

// Probe starts the program for a moment, without a machine, asks it what it
// can do, tries to make a userfaultfd inside it, and ends it.
func Probe(ctx context.Context, program string) (found Probed, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, probeTimeout, fmt.Errorf("QEMU did not answer in %v", probeTimeout))
	defer cancel()
	if found.Path, err = exec.LookPath(program); err != nil {
		return found, fmt.Errorf("find QEMU: %w", err)
	}
	dir, err := os.MkdirTemp("", "lazymig")
	if err != nil {
		return found, fmt.Errorf("make a directory for QEMU's monitor: %w", err)
	}
	defer os.RemoveAll(dir)
	// The kernel ends QEMU with the thread that started it, should this
	// process be killed.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	i, err := launchBare(found.Path, dir)
	if err != nil {
		return found, err
	}
	defer func() { err = errors.Join(err, finish(i.launcher)) }()
	if i.client, err = i.dial(ctx); err != nil {
		return found, err
	}
	defer func() { err = errors.Join(err, i.client.Close()) }()
	if pid := i.client.PeerPID(); pid != i.launcher.PID { // behind a wrapper
		if i.process, err = process.Watch(pid, nil); err != nil {
			return found, fmt.Errorf("find QEMU's process: %w", err)
		}
		defer func() { err = errors.Join(err, finish(i.process)) }()
	}
	if err := found.ask(ctx, i); err != nil {
		return found, i.explain(err)
	}
	found.Accelerators = accelerators(ctx, found.Path)
	found.Userfaultfd = i.tryUserfaultfd(ctx)
	return found, nil
}

// finish kills the process and stops watching it.
func finish(p *process.Process) error {
	err := p.End()
	p.Release()
	return err
}

// launchBare starts a QEMU that has a monitor and nothing else.
func launchBare(program, dir string) (*Incoming, error) {
	i := &Incoming{config: IncomingConfig{Dir: dir}, command: &commandLine{}}
	if len(i.QMPPath()) > maxMonitorPath {
		return nil, fmt.Errorf("start QEMU: the path %s is too long for a socket: set TMPDIR to a shorter one", i.QMPPath())
	}
	log, err := os.OpenFile(i.LogPath(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start QEMU: %w", err)
	}
	defer log.Close()
	command := exec.Command(program, "-no-user-config", "-nodefaults", "-display", "none", "-S",
		"-machine", "none,accel=tcg:kvm", "-qmp", "unix:"+filepath.Base(i.QMPPath())+",server=on,wait=off")
	command.Dir, command.Stdout, command.Stderr = dir, log, log
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("start QEMU: %w", err)
	}
	if i.launcher, err = process.Watch(command.Process.Pid, command); err != nil {
		return nil, errors.Join(err, command.Process.Kill(), command.Wait())
	}
	// Nobody follows its events: a monitor that hangs up means its end.
	i.process, i.exited = i.launcher, make(chan struct{})
	close(i.exited)
	return i, nil
}

// ask asks QEMU for its version and for what it lacks.
func (p *Probed) ask(ctx context.Context, i *Incoming) (err error) {
	if p.Version, err = (queries{i.client}).version(ctx); err != nil {
		return err
	}
	have, err := readSettings(ctx, i.client)
	if err != nil {
		return err
	}
	p.Missing = missingCapabilities(have.capabilities)
	for _, w := range wanted {
		if _, ok := have.capabilities[w.name]; !ok && !slices.Contains(p.Missing, w.name) {
			p.Missing = append(p.Missing, w.name)
		}
	}
	if have.announceRounds == nil {
		p.Missing = append(p.Missing, "announce-rounds")
	}
	return nil
}

// tryUserfaultfd does what Arm does, but for registering memory.
func (i *Incoming) tryUserfaultfd(ctx context.Context) error {
	handle, err := i.createUserfaultfd(ctx)
	if err != nil {
		return err
	}
	_, err = handle.Handshake(needed)
	return errors.Join(err, handle.Close())
}

// accelerators asks the program for its list, one word a line behind a title.
func accelerators(ctx context.Context, program string) []string {
	output, err := exec.CommandContext(ctx, program, "-accel", "help").Output()
	if err != nil {
		return nil // old versions have no such help
	}
	var list []string
	for line := range strings.Lines(string(output)) {
		if fields := strings.Fields(line); len(fields) == 1 {
			list = append(list, fields[0])
		}
	}
	return list
}
