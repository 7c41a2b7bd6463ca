package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// capability is a privilege that lazymig uses.
type capability struct {
	bit  uint
	name string
	use  string
}

// capabilities are those that lazymig uses; for guests of its own user it needs
// none. CAP_SYS_RESOURCE shows in the check of the OOM score, CAP_NET_ADMIN in
// that of the buffers, CAP_NET_BIND_SERVICE in that of the port.
var capabilities = []capability{
	{unix.CAP_CHOWN, "CHOWN", "give RAM files to QEMU's user"},
	{unix.CAP_DAC_OVERRIDE, "DAC_OVERRIDE", "open sockets and RAM files of QEMU's user"},
	{unix.CAP_KILL, "KILL", "freeze and end QEMU"},
	{unix.CAP_SYS_PTRACE, "SYS_PTRACE", "look into QEMU of another user"},
}

func openFiles() (uint64, error) {
	var limit unix.Rlimit
	err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit)
	return limit.Max, err
}

// onThisProcess calls f with a descriptor of this process.
func onThisProcess(f func(pidfd int) error) error {
	pidfd, err := unix.PidfdOpen(os.Getpid(), unix.PIDFD_NONBLOCK)
	if err != nil {
		return fmt.Errorf("pidfd_open: %w", err)
	}
	defer unix.Close(pidfd)
	return f(pidfd)
}

func tryPidfd() error {
	return onThisProcess(func(pidfd int) error {
		if err := unix.PidfdSendSignal(pidfd, 0, nil, 0); err != nil {
			return fmt.Errorf("pidfd_send_signal: %w", err)
		}
		return nil
	})
}

func tryGetfd() error {
	return onThisProcess(func(pidfd int) error {
		other, err := unix.PidfdGetfd(pidfd, pidfd, 0)
		if err != nil {
			return fmt.Errorf("pidfd_getfd: %w", err)
		}
		return unix.Close(other)
	})
}

// status returns a line of /proc/self/status.
func (h *host) status(key string) (string, error) {
	text, err := h.read("/proc/self/status")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(text) {
		if value, found := strings.CutPrefix(line, key+":"); found {
			return strings.TrimSpace(value), nil
		}
	}
	return "", fmt.Errorf("there is no %s in /proc/self/status", key)
}

// effective returns the set of this process's capabilities.
func (h *host) effective() (uint64, error) {
	text, err := h.status("CapEff")
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(text, 16, 64)
}

func (h *host) hasCapability(bit uint) bool {
	set, err := h.effective()
	return err == nil && set&(1<<bit) != 0
}

func checkUser(_ context.Context, h *host) finding {
	if id := h.euid(); id != 0 {
		return limited("run it as root: sudo lazymig doctor", "user %d: only QEMUs of this user, and other users' processes are not seen", id)
	}
	return ok("root")
}

func checkCapabilities(_ context.Context, h *host) finding {
	set, err := h.effective()
	if err != nil {
		return unknown("mount -t proc proc /proc", "%v", err)
	}
	var names, uses []string
	for _, c := range capabilities {
		if set&(1<<c.bit) == 0 {
			names, uses = append(names, c.name), append(uses, c.use)
		}
	}
	if len(names) == 0 {
		return ok("all that lazymig uses")
	}
	fix := "sudo lazymig doctor"
	if h.euid() == 0 {
		fix = "docker run --cap-add " + strings.Join(names, " --cap-add ")
	}
	return limited(fix, "missing: %s, to %s", strings.Join(names, ", "), strings.Join(uses, "; "))
}

// checkPtraceScope is about Yama, which decides who may trace whom. QEMU is a
// child of lazymig, unless it makes itself a daemon.
func checkPtraceScope(_ context.Context, h *host) finding {
	const fix = "sysctl -w kernel.yama.ptrace_scope=1"
	value, err := h.read("/proc/sys/kernel/yama/ptrace_scope")
	if errors.Is(err, fs.ErrNotExist) {
		return ok("no Yama in the kernel to restrict ptrace")
	}
	if err != nil {
		return unknown("run as root", "%v", err)
	}
	traces := h.hasCapability(unix.CAP_SYS_PTRACE)
	switch {
	case value == "3":
		return notAble("remove kernel.yama.ptrace_scope=3 from /etc/sysctl.d and reboot", "ptrace_scope is 3: nobody may use ptrace until a reboot")
	case traces || value == "0":
		return ok("ptrace_scope is %s, ptrace is allowed", value)
	case value == "1":
		return limited("run as root", "ptrace_scope is 1: not for a QEMU with -daemonize")
	}
	return notAble("run as root, or: "+fix, "ptrace_scope is %s: ptrace takes CAP_SYS_PTRACE", value)
}

func checkPidfd(_ context.Context, h *host) finding {
	return h.judgePidfd(h.pidfd(), "processes can be held and signalled")
}

func checkGetfd(_ context.Context, h *host) finding {
	return h.judgePidfd(h.getfd(), "descriptors of processes can be duplicated")
}

func (h *host) judgePidfd(err error, good string) finding {
	switch {
	case err == nil:
		return ok("%s", good)
	case errors.Is(err, unix.ENOSYS) && !h.isFiltered():
		return notAble("use Linux 5.10 or newer", "%v", err)
	}
	return notAble("allow the call to the container (docker run --security-opt seccomp=unconfined), or run it on the host itself", "%v", err)
}

// isFiltered reports whether a seccomp filter is on this process.
func (h *host) isFiltered() bool {
	mode, err := h.status("Seccomp")
	return err == nil && mode != "0"
}

func checkSeccomp(_ context.Context, h *host) finding {
	mode, err := h.status("Seccomp")
	switch {
	case err != nil:
		return unknown("mount -t proc proc /proc", "%v", err)
	case mode == "0":
		return ok("no filter of system calls")
	case h.pidfd() == nil && h.getfd() == nil && (h.userfaultfd(true) == nil || h.openDevice() == nil):
		return ok("a filter, which lets pass what lazymig needs")
	}
	return limited("docker run --security-opt seccomp=unconfined; systemd: no SystemCallFilter=", "a filter of system calls denies some that lazymig needs: see the checks above")
}

func checkOpenFiles(_ context.Context, h *host) finding {
	limit, err := h.openFiles()
	switch {
	case err != nil:
		return unknown("ulimit -n 4096", "%v", err)
	case limit < minOpenFiles:
		return limited("ulimit -n 4096 (systemd: LimitNOFILE=4096)", "at most %d open files, %d may be needed", limit, minOpenFiles)
	}
	return ok("up to %s", count(limit))
}

func count(n uint64) string {
	if n == unix.RLIM_INFINITY {
		return "no limit"
	}
	return strconv.FormatUint(n, 10)
}

// checkOOMScore lowers the score, as the engine does, and puts it back.
func checkOOMScore(_ context.Context, h *host) finding {
	const fix = "run as root with CAP_SYS_RESOURCE (docker run --cap-add SYS_RESOURCE)"
	const file = "/proc/self/oom_score_adj"
	text, err := h.read(file)
	if err != nil {
		return unknown(fix, "%v", err)
	}
	before, err := strconv.Atoi(text)
	switch {
	case err != nil:
		return unknown(fix, "the score %q is no number", text)
	case before <= oomScore:
		return ok("the score is %d already", before)
	}
	if err := os.WriteFile(h.path(file), []byte(strconv.Itoa(oomScore)), 0); err != nil {
		return limited(fix, "when memory is short the kernel may end lazymig: it may not ask to be spared")
	}
	if err := os.WriteFile(h.path(file), []byte(text), 0); err != nil {
		return limited(fix, "the score was lowered to %d and not put back: %v", oomScore, err)
	}
	return ok("lazymig may lower its score from %d to %d", before, oomScore)
}
