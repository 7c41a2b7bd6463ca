package main

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// forbidUserfaultfd makes the system call fail with EPERM in all threads of
// this process, and of those that it starts, as container engines do.
func forbidUserfaultfd() error {
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the number of the call
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_USERFAULTFD, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC,
		uintptr(unsafe.Pointer(&program))) // SAFETY: the kernel copies it during the call
	if errno != 0 {
		return fmt.Errorf("forbid userfaultfd: %w", errno)
	}
	return nil
}
