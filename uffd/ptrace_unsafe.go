//go:build linux

package uffd

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// What x/sys/unix lacks for tracing another process: stops with their siginfo,
// signal masks, and steps that pass a signal on.

// signalInfo is siginfo_t as SIGCHLD fills it.
type signalInfo struct {
	signal int32
	errno  int32
	code   int32
	_      int32
	pid    int32
	uid    uint32
	status int32
	_      [100]byte
}

var (
	_ [128]struct{} = [unsafe.Sizeof(signalInfo{})]struct{}{}
	_ [16]struct{}  = [unsafe.Offsetof(signalInfo{}.pid)]struct{}{}
	_ [24]struct{}  = [unsafe.Offsetof(signalInfo{}.status)]struct{}{}
)

// ptraceSignalInfo returns the siginfo of the stop that thread tid is in.
func ptraceSignalInfo(tid int) (signalInfo, error) {
	var info signalInfo
	// SAFETY: PTRACE_GETSIGINFO writes a siginfo_t, which info is as large as.
	err := ptrace(unix.PTRACE_GETSIGINFO, tid, 0, unsafe.Pointer(&info))
	return info, err
}

// ptraceSignalMask returns the signals that thread tid blocks; during ppoll and
// the like, those that it blocks outside of the call.
func ptraceSignalMask(tid int) (uint64, error) {
	var mask uint64
	// SAFETY: PTRACE_GETSIGMASK writes as many bytes as its address argument says.
	err := ptrace(unix.PTRACE_GETSIGMASK, tid, unsafe.Sizeof(mask), unsafe.Pointer(&mask))
	return mask, err
}

// ptraceSetSignalMask sets the signals that thread tid blocks.
func ptraceSetSignalMask(tid int, mask uint64) error {
	// SAFETY: PTRACE_SETSIGMASK reads as many bytes as its address argument says.
	return ptrace(unix.PTRACE_SETSIGMASK, tid, unsafe.Sizeof(mask), unsafe.Pointer(&mask))
}

// ptraceStep lets thread tid execute one instruction. A signal that is not 0
// is delivered first, in place of the one that it stopped for.
func ptraceStep(tid int, signal unix.Signal) error {
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_SINGLESTEP, uintptr(tid), 0, uintptr(signal), 0, 0)
	return asError(errno)
}

func ptrace(request, tid int, address uintptr, data unsafe.Pointer) error {
	// SAFETY: the conversion stands in the argument list of the call, which keeps
	// what data points to in place.
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, uintptr(request), uintptr(tid), address, uintptr(data), 0, 0)
	return asError(errno)
}

func asError(errno unix.Errno) error {
	if errno != 0 {
		return errno
	}
	return nil
}

// takeStop takes the next stop of thread tid, if there is one. It never reaps
// the thread: its end is left to its parent, which may be this process.
func takeStop(tid int) (s stop, ok bool, err error) {
	var info signalInfo
	// SAFETY: waitid writes a siginfo_t, which info is as large as.
	_, _, errno := unix.Syscall6(unix.SYS_WAITID, unix.P_PID, uintptr(tid), uintptr(unsafe.Pointer(&info)),
		unix.WSTOPPED|unix.WNOHANG|unix.WALL, 0, 0)
	if errno != 0 {
		return stop{}, false, errno
	}
	if info.pid == 0 {
		return stop{}, false, nil
	}
	return stop{unix.Signal(info.status & 0xff), int(info.status >> 8)}, true, nil
}
