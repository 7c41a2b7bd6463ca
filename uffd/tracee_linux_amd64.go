package uffd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// A thread that is traced stops for one of three reasons, and only the first
// two leave its registers free for use:
//
//	interrupt   event PTRACE_EVENT_STOP, signal SIGTRAP: asked for by the tracer
//	group stop  event PTRACE_EVENT_STOP, another signal: the process is stopped
//	            (SIGSTOP, Ctrl-Z). It can be stepped; detaching stops it again
//	delivery    no event: a signal is about to be delivered. A handler's frame
//	            would be built from the registers as they are
type stop struct {
	signal unix.Signal
	event  int
}

func (s stop) usable() bool { return s.event == unix.PTRACE_EVENT_STOP }

// userCode64 is the code segment of 64-bit programs.
const userCode64 = 0x33

// instructionSignals are raised by instructions. The kernel kills a process
// that blocks one which is due, so they stay unblocked.
const instructionSignals = 1<<(unix.SIGILL-1) | 1<<(unix.SIGTRAP-1) | 1<<(unix.SIGBUS-1) |
	1<<(unix.SIGFPE-1) | 1<<(unix.SIGSEGV-1) | 1<<(unix.SIGSYS-1)

// tracee is the main thread of another process, stopped for a system call that
// is not its own. All methods run on one OS thread.
//
//	seize → stopped → save → call … → restore → detached
//
// Between save and restore, signals are blocked and so stay in the kernel's
// queues, with all that belongs to them, until the thread goes on.
type tracee struct {
	pid         int
	pidfd       int
	instruction uint64 // address of a syscall instruction

	running bool // stepping: it has to stop before it obeys
	saved   bool // registers and mask are to be put back
	regs    unix.PtraceRegs
	mask    uint64
	held    []unix.Signal // taken from the thread, to be sent again
}

// seize attaches to the thread and waits until it stops where its registers
// may be used. If it fails, the thread goes on at the latest when the calling
// OS thread ends.
func (t *tracee) seize(ctx context.Context) error {
	if err := unix.PtraceSeize(t.pid); err != nil {
		return fmt.Errorf("trace process %d: %w%s", t.pid, err, traceHint(t.pid, err))
	}
	if err := unix.PtraceInterrupt(t.pid); err != nil {
		return fmt.Errorf("interrupt process %d: %w", t.pid, err)
	}
	for {
		s, err := t.wait(ctx)
		if err != nil {
			return fmt.Errorf("stop process %d: %w", t.pid, err)
		}
		if s.usable() {
			return nil
		}
		// A signal came first. Once it is delivered, the interrupt is next.
		if err := unix.PtraceCont(t.pid, int(s.signal)); err != nil {
			return fmt.Errorf("deliver signal %v to process %d: %w", s.signal, t.pid, err)
		}
	}
}

// save keeps the registers and the signal mask and blocks signals.
func (t *tracee) save() error {
	if err := unix.PtraceGetRegs(t.pid, &t.regs); err != nil {
		return fmt.Errorf("read registers of process %d: %w", t.pid, err)
	}
	if t.regs.Cs != userCode64 {
		return fmt.Errorf("process %d is not a 64-bit program: %w", t.pid, unix.ENOTSUP)
	}
	mask, err := ptraceSignalMask(t.pid)
	if err != nil {
		return fmt.Errorf("read signal mask of process %d: %w", t.pid, err)
	}
	t.mask, t.saved = mask, true
	if err := ptraceSetSignalMask(t.pid, ^uint64(instructionSignals)); err != nil {
		return fmt.Errorf("block signals of process %d: %w", t.pid, err)
	}
	return nil
}

// call makes the thread execute one system call of up to three arguments and
// returns its result, or the system call's error as a unix.Errno in errno. err
// says that the thread did not execute it, or may not have.
func (t *tracee) call(ctx context.Context, number uint64, arguments [3]uint64) (result int, errno unix.Errno, err error) {
	regs := t.regs
	regs.Rip, regs.Rax = t.instruction, number
	regs.Orig_rax = ^uint64(0) // no system call to restart
	regs.Rdi, regs.Rsi, regs.Rdx = arguments[0], arguments[1], arguments[2]
	if err := unix.PtraceSetRegs(t.pid, &regs); err != nil {
		return 0, 0, fmt.Errorf("set registers of process %d: %w", t.pid, err)
	}
	if err := t.step(ctx); err != nil {
		return 0, 0, fmt.Errorf("execute a system call in process %d: %w", t.pid, err)
	}
	if err := unix.PtraceGetRegs(t.pid, &regs); err != nil {
		return 0, 0, fmt.Errorf("read result from process %d: %w", t.pid, err)
	}
	if want := t.instruction + uint64(len(syscallInstruction)); regs.Rip != want {
		return 0, 0, fmt.Errorf("execute a system call in process %d: it is at %#x, not at %#x", t.pid, regs.Rip, want)
	}
	if value := int64(regs.Rax); value < 0 && value >= -4095 {
		return 0, unix.Errno(-value), nil
	}
	return int(regs.Rax), 0, nil
}

// step executes one instruction and returns when the trap behind it was seen.
func (t *tracee) step(ctx context.Context) error {
	var deliver unix.Signal
	for ctx.Err() == nil {
		if err := ptraceStep(t.pid, deliver); err != nil {
			return err
		}
		t.running, deliver = true, 0
		s, err := t.wait(ctx)
		if err != nil {
			return err
		}
		if s.usable() {
			continue // stopped by somebody else before the instruction
		}
		if s.signal == unix.SIGSTOP {
			deliver = s.signal // cannot be blocked; it runs no handler
			continue
		}
		info, err := ptraceSignalInfo(t.pid)
		switch {
		case err != nil:
			return err
		case info.code <= 0: // sent by a process, not raised by the instruction
			t.held = append(t.held, s.signal)
		case s.signal == unix.SIGTRAP:
			return nil
		default:
			return fmt.Errorf("it raised %v (a seccomp filter?)", s.signal)
		}
	}
	return fmt.Errorf("%w (somebody stops it over and over)", context.Cause(ctx))
}

// release puts everything back and lets the thread go on.
func (t *tracee) release(ctx context.Context) error {
	err := t.restore(ctx)
	if err != nil {
		err = fmt.Errorf("put registers of process %d back: %w (it cannot go on: kill it)", t.pid, err)
	}
	if detachErr := unix.PtraceDetach(t.pid); detachErr != nil && err == nil {
		err = fmt.Errorf("detach from process %d: %w", t.pid, detachErr)
	}
	return err
}

func (t *tracee) restore(ctx context.Context) error {
	if t.running {
		if err := t.halt(ctx); err != nil {
			return err
		}
	}
	if !t.saved {
		return nil
	}
	err := unix.PtraceSetRegs(t.pid, &t.regs)
	err = errors.Join(err, ptraceSetSignalMask(t.pid, t.mask))
	for _, signal := range t.held {
		err = errors.Join(err, unix.Tgkill(t.pid, t.pid, signal))
	}
	return err
}

// halt stops a thread whose step did not end in time. It has its own bound.
func (t *tracee) halt(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), restoreGrace)
	defer cancel()
	if err := unix.PtraceInterrupt(t.pid); err != nil {
		return err
	}
	_, err := t.wait(ctx)
	return err
}

// wait returns the next stop. The error wraps unix.ESRCH if the process ended,
// and the cause of ctx's end if that came first.
func (t *tracee) wait(ctx context.Context) (stop, error) {
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		s, ok, err := takeStop(t.pid)
		if ok {
			t.running = false
			return s, nil
		}
		if errors.Is(err, unix.ECHILD) || hasEnded(t.pidfd) {
			return stop{}, fmt.Errorf("it has ended: %w", unix.ESRCH)
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return stop{}, err
		}
		select {
		case <-ctx.Done():
			return stop{}, fmt.Errorf("%w (%s)", context.Cause(ctx), describeState(t.pid))
		case <-time.After(pause):
		}
	}
}
