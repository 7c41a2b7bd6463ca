package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/lazymig/lazymig/internal/vmm"

	"golang.org/x/sys/unix"
)

// Stop stops the process by a signal and waits until all its
// threads have stopped, so that it says nothing more and does nothing more.
func (p *Process) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	if err := p.signal(unix.SIGSTOP); err != nil {
		return err
	}
	recheck := time.NewTicker(stopRecheck)
	defer recheck.Stop()
	for {
		stopped, err := IsStopped(p.PID)
		if err != nil {
			return err
		}
		if stopped {
			return nil
		}
		select {
		case <-recheck.C:
		case <-ctx.Done():
			return fmt.Errorf("wait until process %d has stopped: %w", p.PID, context.Cause(ctx))
		}
	}
}

// Continue lets a stopped process go on. One that was not stopped is
// fine.
func (p *Process) Continue() error { return p.signal(unix.SIGCONT) }

func (p *Process) signal(s unix.Signal) error {
	err := unix.PidfdSendSignal(p.FD, s, nil, 0)
	if errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("%w: %w", vmm.ErrGone, err)
	}
	if err != nil {
		return fmt.Errorf("send %v to process %d (run as root or as its user): %w", s, p.PID, err)
	}
	return nil
}

// IsStopped tells whether every thread of a process is stopped or has ended.
func IsStopped(pid int) (bool, error) {
	directory := fmt.Sprintf("/proc/%d/task", pid)
	threads, err := os.ReadDir(directory)
	if err != nil {
		return false, fmt.Errorf("look at the threads of process %d: %w", pid, err)
	}
	for _, t := range threads {
		fields, err := statFields(directory + "/" + t.Name() + "/stat")
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue // it has ended
		}
		if err != nil {
			return false, err
		}
		if !bytes.ContainsAny(fields[0], "TtZX") {
			return false, nil
		}
	}
	return true, nil
}

// StartTime returns when a process started, in the kernel's clock ticks since
// boot. Together with its number it names a process for good.
func StartTime(pid int) (uint64, error) {
	fields, err := statFields(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(string(fields[19]), 10, 64)
}

// statFields returns the fields of a stat file from the state on, which is
// field 3 in proc(5).
func statFields(path string) ([][]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 20 {
		return nil, fmt.Errorf("parse %s: %d fields", path, len(fields))
	}
	return fields, nil
}
