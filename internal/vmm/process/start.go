package process

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Mark returns what is in the environment of a VMM that a destination has
// started with this tag. By it one is found that hangs before its monitor
// answers, and with QEMU's -daemonize it is no child of anybody who knows it.
func Mark(tag string) string { return "LAZYMIG_INCOMING=" + tag }

// Start starts args in a session of its own, with its output in log, a file
// that is made anew, and with mark ("NAME=VALUE") in its environment, by which
// KillMarked finds it.
func Start(args []string, log, mark string) (*Process, error) {
	file, err := os.OpenFile(log, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	args = inScope(args)
	command := exec.Command(args[0], args[1:]...)
	command.Stdout, command.Stderr = file, file
	command.Env = append(os.Environ(), mark)
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := command.Start(); err != nil {
		return nil, err
	}
	p, err := Watch(command.Process.Pid, command)
	if err != nil {
		return nil, errors.Join(err, command.Process.Kill(), command.Wait())
	}
	return p, nil
}

// inScope puts the command into a systemd scope of its own where systemd
// runs, so that stopping lazymig's unit does not stop it. systemd-run
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

// SetOOMScore sets the process's oom_score_adj. A process that has ended is
// fine.
func (p *Process) SetOOMScore(score int) error {
	path := fmt.Sprintf("/proc/%d/oom_score_adj", p.PID)
	err := os.WriteFile(path, []byte(strconv.Itoa(score)), 0o600)
	if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("set the oom_score_adj of process %d to %d: %w", p.PID, score, err)
	}
	return nil
}

// FindMarked returns the processes whose environment has the mark.
func FindMarked(mark string) ([]int, error) {
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

// KillMarked kills every process whose environment has the mark and waits for
// their ends.
func KillMarked(mark string) error {
	marked, err := FindMarked(mark)
	problems := []error{err}
	for _, pid := range marked {
		p, err := Watch(pid, nil)
		if err != nil {
			continue // it has ended meanwhile
		}
		problems = append(problems, p.End())
		p.Release()
	}
	return errors.Join(problems...)
}
