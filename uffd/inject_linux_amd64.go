package uffd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// syscallInstruction is the machine code of syscall.
var syscallInstruction = []byte{0x0f, 0x05}

// CreateIn creates a userfaultfd in process pid, for its memory, and returns
// the number of the descriptor there (see AdoptFrom). It stops the main thread
// by ptrace, has it make one system call and lets it go on as it was; a system
// call that it was in is restarted by the kernel, and no signal is lost. A
// process that is stopped stays so. That takes about a millisecond.
//
// With deviceFD ≥ 0, that descriptor of the process has to be an open
// /dev/userfaultfd (see OpenDevice), which also works without privileges of
// the process. If it is negative or fails, the userfaultfd system call is made.
//
// If ctx ends first, the thread is put back as it was and the error wraps the
// cause. Whatever the error, kill the process if it is of no use without the
// userfaultfd; an error that says "kill it" leaves no choice. A caller that is
// killed in the middle takes the process with it, so this is not for processes
// that hold the only copy of something.
//
// The kernel shows stops to every thread of the caller's process that waits
// for pid, and Go's os.Process.Wait takes one for the end. Whoever has started
// pid must therefore wait until its pidfd is readable, and call Wait then.
func CreateIn(ctx context.Context, pid, deviceFD int) (remoteFD int, err error) {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return -1, fmt.Errorf("open process %d: %w", pid, err)
	}
	defer func() { _ = unix.Close(pidfd) }()
	instruction, err := findSyscallInstruction(pid)
	if err != nil {
		return -1, fmt.Errorf("find a syscall instruction in process %d: %w", pid, err)
	}
	t := &tracee{pid: pid, pidfd: pidfd, instruction: instruction}
	onOwnThread(func() { remoteFD, err = t.createUserfaultfd(ctx, deviceFD) })
	return remoteFD, err
}

// onOwnThread calls f on an OS thread that ends with it. The kernel detaches a
// thread that is still traced when its tracer ends: the way out if it cannot
// be stopped. The main thread of a process does not end, so it is passed over.
func onOwnThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			f() // without UnlockOSThread: the goroutine's end ends the thread
			return
		}
		defer runtime.UnlockOSThread()
		onOwnThread(f)
	}()
	<-done
}

func (t *tracee) createUserfaultfd(ctx context.Context, deviceFD int) (fd int, err error) {
	if err := t.seize(ctx); err != nil {
		return -1, err
	}
	defer func() {
		if releaseErr := t.release(ctx); releaseErr != nil {
			fd, err = -1, errors.Join(err, releaseErr)
		}
	}()
	if err := t.save(); err != nil {
		return -1, err
	}
	var deviceErrno unix.Errno
	if deviceFD >= 0 {
		fd, deviceErrno, err = t.call(ctx, unix.SYS_IOCTL, [3]uint64{uint64(deviceFD), ioctlNew, openFlags})
		if err != nil {
			return -1, err
		}
		if deviceErrno == 0 {
			return fd, nil
		}
	}
	fd, errno, err := t.call(ctx, unix.SYS_USERFAULTFD, [3]uint64{openFlags})
	if err != nil {
		return -1, err
	}
	if errno != 0 {
		return -1, createError(t.pid, deviceFD, deviceErrno, errno)
	}
	return fd, nil
}

func createError(pid, deviceFD int, deviceErrno, errno unix.Errno) error {
	if deviceFD < 0 {
		return fmt.Errorf("create userfaultfd in process %d: %w (pass it an open %s)", pid, errno, devicePath)
	}
	return fmt.Errorf("create userfaultfd in process %d: from its descriptor %d: %w; by the system call: %w",
		pid, deviceFD, deviceErrno, errno)
}

// findSyscallInstruction returns the address of a syscall instruction in the
// vDSO of process pid: code that each process has and that never changes.
func findSyscallInstruction(pid int) (uint64, error) {
	start, end, err := findVDSO(pid)
	if err != nil {
		return 0, err
	}
	if start >= end || end-start > maxVDSO {
		return 0, fmt.Errorf("vDSO of %#x-%#x makes no sense", start, end)
	}
	memory, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		return 0, err
	}
	defer func() { _ = memory.Close() }()
	code := make([]byte, end-start)
	if _, err := memory.ReadAt(code, int64(start)); err != nil {
		return 0, err
	}
	i := bytes.Index(code, syscallInstruction)
	if i < 0 {
		return 0, errors.New("the vDSO has none")
	}
	return start + uint64(i), nil
}

func findVDSO(pid int) (start, end uint64, err error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = f.Close() }()
	maps, err := io.ReadAll(io.LimitReader(f, maxMaps))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(maps)) {
		if strings.HasSuffix(line, " [vdso]\n") {
			_, err = fmt.Sscanf(line, "%x-%x", &start, &end)
			return start, end, err
		}
	}
	return 0, 0, errors.New("it has no vDSO (kernel parameter vdso=0, or it has ended)")
}

// hasEnded reports whether the process behind pidfd has ended.
func hasEnded(pidfd int) bool {
	poll := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	n, err := unix.Poll(poll, 0)
	return err == nil && n > 0
}

// describeState says what keeps the main thread from being seen to stop.
func describeState(pid int) string {
	state := statusField(pid, "State")
	if strings.HasPrefix(state, "t") {
		return "it stopped, but another goroutine waits for the process and was told instead"
	}
	return "its main thread is in state " + state
}

// traceHint says what to do if tracing is refused.
func traceHint(pid int, err error) string {
	if !errors.Is(err, unix.EPERM) {
		return ""
	}
	if tracer := statusField(pid, "TracerPid"); tracer != "0" && tracer != "unknown" {
		return " (thread " + tracer + " traces it already: end that debugger)"
	}
	return " (run as root or with CAP_SYS_PTRACE; see also kernel.yama.ptrace_scope)"
}

func statusField(pid int, name string) string {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}
