package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/lazymig/lazymig/internal/vmm/qmp"
)

// marker names the environment variable by which a QEMU is found that hangs
// before its monitor answers: with -daemonize it is no child of anybody who
// knows it.
const marker = "LAZYMIG_INCOMING"

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
	log, err := os.OpenFile(i.LogPath(), os.O_WRONLY|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("start QEMU: %w", err)
	}
	defer log.Close()
	args = inScope(args)
	command := exec.Command(args[0], args[1:]...)
	command.Stdout, command.Stderr = log, log
	command.Env = append(os.Environ(), i.mark())
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := command.Start(); err != nil {
		return fmt.Errorf("start QEMU: %w", err)
	}
	i.launcher, err = watch(command.Process.Pid, command)
	if err != nil {
		return errors.Join(err, command.Process.Kill(), command.Wait())
	}
	return nil
}

// inScope puts the command into a systemd scope of its own where systemd
// runs, so that stopping lazymig's unit does not stop QEMU. systemd-run
// becomes the command, it does not stay beside it.
func inScope(args []string) []string {
	if info, err := os.Stat("/run/systemd/system"); err != nil || !info.IsDir() || os.Geteuid() != 0 {
		return args
	}
	run, err := exec.LookPath("systemd-run")
	if err != nil {
		return args
	}
	return append([]string{run, "--scope", "--quiet", "--collect", "--"}, args...)
}

// connect waits for the monitor and finds out which process QEMU is.
func (i *Incoming) connect(ctx context.Context) error {
	if err := i.setOOMScore(i.launcher); err != nil {
		return err
	}
	client, err := i.dial(ctx)
	if err != nil {
		return err
	}
	i.client = client
	pid := client.PeerPID()
	if pid == i.launcher.pid {
		i.process = i.launcher
	} else if i.process, err = watch(pid, nil); err != nil {
		return fmt.Errorf("find QEMU's process: %w", err)
	}
	i.served = make(chan struct{})
	go i.serveEvents(client.Subscribe(eventBuffer))
	// An answer shows that the process opened a moment ago is QEMU and not
	// one that got its number later.
	if err := client.Execute(ctx, "query-status", nil, nil); err != nil {
		return i.explain(fmt.Errorf("ask QEMU for its status: %w", err))
	}
	return i.setOOMScore(i.process)
}

// dial tries until the monitor answers, QEMU ends or the time is over.
func (i *Incoming) dial(ctx context.Context) (*qmp.Client, error) {
	for {
		isDaemon := i.launcher.hasExited()
		if isDaemon && (!i.command.daemonize || !i.launcher.child.ProcessState.Success()) {
			return nil, fmt.Errorf("start QEMU: it ended at once (%v); %s", i.launcher.child.ProcessState, readLogTail(i.LogPath()))
		}
		client, err := qmp.Dial(ctx, i.QMPPath())
		if err == nil {
			return client, nil
		}
		if isDaemon {
			return nil, fmt.Errorf("start QEMU: it ended behind -daemonize: %w; %s", err, readLogTail(i.LogPath()))
		}
		select {
		case <-time.After(dialInterval):
		case <-i.launcher.exited:
		case <-ctx.Done():
			return nil, fmt.Errorf("start QEMU: %w (a server socket without wait=off on the command line makes it wait): %w; %s",
				context.Cause(ctx), err, readLogTail(i.LogPath()))
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
		return fmt.Errorf("QEMU has ended: %w; %s", err, readLogTail(i.LogPath()))
	case <-time.After(drainTimeout):
		return err
	}
}

func (i *Incoming) setOOMScore(p *process) error {
	path := fmt.Sprintf("/proc/%d/oom_score_adj", p.pid)
	err := os.WriteFile(path, []byte(strconv.Itoa(i.config.OOMScoreAdj)), 0o600)
	if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("set QEMU's oom_score_adj to %d: %w", i.config.OOMScoreAdj, err)
	}
	return nil
}

func (i *Incoming) mark() string { return marker + "=" + i.config.Tag }

// abandon kills what a failed start has left.
func (i *Incoming) abandon() error {
	problems := []error{i.launcher.end()}
	if i.process != nil {
		problems = append(problems, i.process.end())
	}
	marked, err := findMarked(i.mark())
	problems = append(problems, err)
	for _, pid := range marked {
		p, err := watch(pid, nil)
		if err != nil {
			continue // it has ended meanwhile
		}
		problems = append(problems, p.end())
		p.release()
	}
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

// findMarked returns the processes whose environment has the mark.
func findMarked(mark string) ([]int, error) {
	paths, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var list []int
	for _, path := range paths {
		environment, err := os.ReadFile(path)
		if err != nil || !slices.Contains(strings.Split(string(environment), "\x00"), mark) {
			continue
		}
		if pid, err := strconv.Atoi(strings.Split(path, "/")[2]); err == nil {
			list = append(list, pid)
		}
	}
	return list, nil
}
