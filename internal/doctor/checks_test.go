package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lazymig/lazymig/internal/vmm"
	"github.com/lazymig/lazymig/internal/vmm/qemu"
	"github.com/lazymig/lazymig/quictransport"
	"github.com/lazymig/lazymig/uffd"
)

// badCase is one thing that is wrong with a host, and what a check says of it.
type badCase struct {
	check  string
	what   string
	harm   func(*testing.T, *host)
	want   Status
	detail string // a part of it
	fix    string // a part of it
}

// TestBadHosts spoils one thing at a time. Every check has to notice what is
// its own, and to say how to mend it.
func TestBadHosts(t *testing.T) {
	tested := make(map[string]bool)
	for _, c := range badCases() {
		tested[c.check] = tested[c.check] || c.want != OK
		t.Run(c.check+"/"+c.what, func(t *testing.T) {
			h := goodHost(t)
			c.harm(t, h)
			got := h.look(t, c.check)
			if got.status != c.want || !strings.Contains(got.detail, c.detail) || !strings.Contains(got.fix, c.fix) {
				t.Errorf("%+v, want %s, %q, %q", got, c.want, c.detail, c.fix)
			}
			if (got.fix == "") != (got.status == OK) || strings.Contains(got.detail+got.fix, "\n") || strings.Contains(got.detail+got.fix, "%!") {
				t.Errorf("%+v has a wrong fix or form", got)
			}
		})
	}
	for _, c := range checks() {
		if !tested[c.name] {
			t.Errorf("no bad case for %s", c.name)
		}
	}
}

func badCases() []badCase {
	var all []badCase
	for _, list := range [][]badCase{
		machineCases(), userfaultfdCases(), privilegeCases(), confinementCases(), qemuCases(), memoryCases(), networkCases(), stateCases(),
	} {
		all = append(all, list...)
	}
	return all
}

var errOther = errors.New("something else")

// file returns what writes a file of the host.
func file(name, text string) func(*testing.T, *host) {
	return func(t *testing.T, h *host) { h.write(t, name, text) }
}

// gone returns what removes files of the host.
func gone(names ...string) func(*testing.T, *host) {
	return func(t *testing.T, h *host) {
		for _, name := range names {
			h.remove(t, name)
		}
	}
}

func set(f func(*host)) func(*testing.T, *host) { return func(_ *testing.T, h *host) { f(h) } }

func both(list ...func(*testing.T, *host)) func(*testing.T, *host) {
	return func(t *testing.T, h *host) {
		for _, f := range list {
			f(t, h)
		}
	}
}

func machineCases() []badCase {
	arch := func(name string, err error) func(*testing.T, *host) {
		return set(func(h *host) { h.machine = func() (string, error) { return name, err } })
	}
	clock := func(d time.Duration, err error) func(*testing.T, *host) {
		return set(func(h *host) { h.clock = func() (time.Duration, error) { return d, err } })
	}
	return []badCase{
		{"architecture", "arm", arch("aarch64", nil), NotAble, "aarch64", "x86_64"},
		{"architecture", "unknown", arch("", errOther), Unknown, "something else", "x86_64"},
		{"architecture", "large pages", set(func(h *host) { h.pageSize = func() int { return 65536 } }), NotAble, "65536", "x86_64"},
		{"kernel", "old", file("/proc/sys/kernel/osrelease", "5.4.0-150-generic\n"), NotAble, "5.4.0", "5.10"},
		{"kernel", "just new enough", file("/proc/sys/kernel/osrelease", "5.10.0\n"), OK, "5.10.0", ""},
		{"kernel", "no number", file("/proc/sys/kernel/osrelease", "custom\n"), Unknown, "custom", "5.10"},
		{"kernel", "no /proc", gone("/proc/sys/kernel/osrelease"), Unknown, "osrelease", "mount -t proc"},
		{"clock", "coarse", clock(4*time.Millisecond, nil), Limited, "4ms", "highres=off"},
		{"clock", "slow", file("/sys/devices/system/clocksource/clocksource0/current_clocksource", "acpi_pm\n"), Limited, "acpi_pm", "echo tsc"},
		{"clock", "unknown", clock(0, errOther), Unknown, "something else", "nohz"},
	}
}

// callFails makes the system call fail, for all faults and for those of user
// mode.
func callFails(full, userOnly error) func(*testing.T, *host) {
	return set(func(h *host) {
		h.userfaultfd = func(only bool) error {
			if only {
				return userOnly
			}
			return full
		}
	})
}

func userfaultfdCases() []badCase {
	noDevice := gone("/dev/userfaultfd")
	closed := func(t *testing.T, h *host) { h.unopenable(t, "/dev/userfaultfd") }
	user := set(func(h *host) { h.euid = func() int { return 1000 } })
	features := func(has uffd.Feature, err error, c vmm.Check) func(*testing.T, *host) {
		return set(func(h *host) {
			h.features = func() (uffd.Feature, error) { return has, err }
			h.preflight = func() vmm.Check { return c }
		})
	}
	inQEMU := func(err error) func(*testing.T, *host) {
		return set(func(h *host) {
			h.probe = func(context.Context, string) (qemu.Probed, error) { return qemu.Probed{Userfaultfd: err}, nil }
		})
	}
	filter := file("/proc/self/status", "CapEff:\t000001ffffffffff\nSeccomp:\t2\n")
	return []badCase{
		{"uffd-call", "not in the kernel", both(noDevice, gone(userfaultfdSysctl), callFails(unix.ENOSYS, unix.ENOSYS)), NotAble, "built without", "CONFIG_USERFAULTFD"},
		{"uffd-call", "hidden by a filter", both(noDevice, callFails(unix.ENOSYS, unix.ENOSYS)), NotAble, "filter (seccomp) hides", "seccomp=unconfined"},
		{"uffd-call", "denied by a filter", both(noDevice, callFails(unix.EPERM, unix.EPERM)), NotAble, "even for user mode", "seccomp=unconfined"},
		{"uffd-call", "user mode only", both(noDevice, callFails(unix.EPERM, nil)), NotAble, "user mode", "run as root"},
		{"uffd-call", "old kernel, no privilege", both(noDevice, callFails(unix.EPERM, unix.EINVAL)), NotAble, "privilege", "unprivileged_userfaultfd=1"},
		{"uffd-call", "no descriptors", both(noDevice, callFails(unix.EMFILE, unix.EMFILE)), Unknown, "no descriptor", "ulimit"},
		{"uffd-call", "odd error", both(noDevice, callFails(unix.ENOMEM, nil)), Unknown, "cannot allocate", "run as root"},
		{"uffd-call", "denied, but there is the device", callFails(unix.EPERM, unix.EPERM), OK, "is used instead", ""},
		{"uffd-device", "closed to the user", both(closed, user), NotAble, "mode 0755", "setfacl"},
		{"uffd-device", "closed to root", closed, NotAble, "cannot be opened", "--device /dev/userfaultfd"},
		{"uffd-device", "another device", set(func(h *host) { h.device = func(string) error { return unix.ENOTTY } }), NotAble, "another device", "mknod /dev/userfaultfd c 10"},
		{"uffd-device", "not in the container", both(noDevice, file("/sys/class/misc/userfaultfd", "")), Limited, "no /dev/userfaultfd", "--device /dev/userfaultfd"},
		{"uffd-device", "none and no call", both(noDevice, callFails(unix.EPERM, nil)), NotAble, "no /dev/userfaultfd", "6.1"},
		{"uffd-device", "none, for root only", noDevice, Limited, "-runas", "unprivileged_userfaultfd=1"},
		{"uffd-device", "none, for everybody", both(noDevice, file(userfaultfdSysctl, "1\n")), OK, "everybody", ""},
		{"uffd-sysctl", "no way in", both(noDevice, callFails(unix.EPERM, nil)), NotAble, "is 0", "sysctl -w vm.unprivileged_userfaultfd=1"},
		{"uffd-sysctl", "device closed", both(closed, callFails(unix.EPERM, nil)), Limited, "does not open", "setfacl"},
		{"uffd-sysctl", "on", file(userfaultfdSysctl, "1\n"), OK, "is 1", ""},
		{"uffd-sysctl", "old kernel", gone(userfaultfdSysctl), OK, "no sysctl", ""},
		{"uffd-sysctl", "unreadable", func(t *testing.T, h *host) { h.unopenable(t, userfaultfdSysctl) }, Unknown, "unprivileged_userfaultfd", "mount -t proc"},
		{"uffd-features", "refused by the preflight", features(uffd.FeatureSigbus, nil, vmm.Check{Status: vmm.StatusRefused, Detail: "lacks missing-shmem", Fix: "use Linux 4.11"}), NotAble, "missing-shmem", "4.11"},
		{"uffd-features", "no poison", features(everything&^uffd.FeaturePoison, nil, vmm.Check{Status: vmm.StatusWarning, Detail: "cannot mark", Fix: "use Linux 6.6"}), Limited, "cannot mark", "6.6"},
		{"uffd-features", "inconclusive", features(0, unix.EPERM, vmm.Check{Status: vmm.StatusRefused, Fix: "run as root"}), NotAble, "could not be asked", "run as root"},
		{"uffd-features", "not in the kernel", both(noDevice, gone(userfaultfdSysctl), features(0, unix.ENOSYS, vmm.Check{Status: vmm.StatusRefused, Fix: "x"})), NotAble, "built without", "CONFIG_USERFAULTFD"},
		{"uffd-in-qemu", "ptrace denied", inQEMU(unix.EPERM), NotAble, "not permitted", "ptrace-scope"},
		{"uffd-in-qemu", "filtered", both(filter, inQEMU(unix.EPERM)), NotAble, "not permitted", "seccomp=unconfined"},
		{"uffd-in-qemu", "hidden by a filter", both(filter, inQEMU(unix.ENOSYS)), NotAble, "not implemented", "seccomp=unconfined"},
		{"uffd-in-qemu", "no device for the user", both(closed, user, inQEMU(fs.ErrPermission)), NotAble, "permission", "setfacl"},
		{"uffd-in-qemu", "no QEMU", noQEMU(exec.ErrNotFound), Unknown, "not tried", "qemu"},
	}
}

func privilegeCases() []badCase {
	status := func(capabilities, seccomp string) func(*testing.T, *host) {
		return file("/proc/self/status", "CapEff:\t"+capabilities+"\nSeccomp:\t"+seccomp+"\n")
	}
	user := set(func(h *host) { h.euid = func() int { return 1000 } })
	yama := func(value string) func(*testing.T, *host) { return file("/proc/sys/kernel/yama/ptrace_scope", value) }
	pidfd := func(err error) func(*testing.T, *host) {
		return set(func(h *host) { h.pidfd = func() error { return err } })
	}
	getfd := func(err error) func(*testing.T, *host) {
		return set(func(h *host) { h.getfd = func() error { return err } })
	}
	files := func(n uint64, err error) func(*testing.T, *host) {
		return set(func(h *host) { h.openFiles = func() (uint64, error) { return n, err } })
	}
	const all, none, noPtrace, oom = "000001ffffffffff", "0000000000000000", "000001fffff7ffff", "/proc/self/oom_score_adj"
	return []badCase{
		{"user", "ordinary", user, Limited, "user 1000", "sudo"},
		{"linux-capabilities", "none", both(user, status(none, "0")), Limited, "CHOWN, DAC_OVERRIDE, KILL, SYS_PTRACE", "sudo"},
		{"linux-capabilities", "root without ptrace", status(noPtrace, "0"), Limited, "missing: SYS_PTRACE", "--cap-add SYS_PTRACE"},
		{"linux-capabilities", "unknown", gone("/proc/self/status"), Unknown, "status", "mount -t proc"},
		{"linux-capabilities", "odd", status("all", "0"), Unknown, "all", "mount -t proc"},
		{"ptrace-scope", "nobody", yama("3"), NotAble, "is 3", "reboot"},
		{"ptrace-scope", "admins", both(status(none, "0"), yama("2")), NotAble, "is 2", "ptrace_scope=1"},
		{"ptrace-scope", "admins, and is one", yama("2"), OK, "allowed", ""},
		{"ptrace-scope", "children", both(status(none, "0"), yama("1")), Limited, "-daemonize", "run as root"},
		{"ptrace-scope", "all", both(status(none, "0"), yama("0")), OK, "allowed", ""},
		{"ptrace-scope", "no Yama", gone("/proc/sys/kernel/yama"), OK, "no Yama", ""},
		{"ptrace-scope", "unreadable", func(t *testing.T, h *host) { h.unopenable(t, "/proc/sys/kernel/yama/ptrace_scope") }, Unknown, "ptrace_scope", "root"},
		{"pidfd", "old kernel", pidfd(fmt.Errorf("pidfd_open: %w", unix.ENOSYS)), NotAble, "pidfd_open", "5.10"},
		{"pidfd", "filtered", both(status(all, "2"), pidfd(unix.ENOSYS)), NotAble, "not implemented", "seccomp=unconfined"},
		{"pidfd", "denied", pidfd(unix.EPERM), NotAble, "not permitted", "seccomp=unconfined"},
		{"pidfd-getfd", "old kernel", getfd(unix.ENOSYS), NotAble, "not implemented", "5.10"},
		{"pidfd-getfd", "filtered", both(status(all, "2"), getfd(unix.EPERM)), NotAble, "not permitted", "seccomp=unconfined"},
		{"seccomp", "denies pidfd_getfd", both(status(all, "2"), getfd(unix.EPERM)), Limited, "denies", "seccomp=unconfined"},
		{"seccomp", "denies pidfd", both(status(all, "2"), pidfd(unix.EPERM)), Limited, "denies", "seccomp=unconfined"},
		{"seccomp", "denies userfaultfd", both(status(all, "2"), gone("/dev/userfaultfd"), callFails(unix.EPERM, unix.EPERM)), Limited, "denies", "SystemCallFilter"},
		{"seccomp", "harmless", status(all, "2"), OK, "lets pass", ""},
		{"seccomp", "unknown", gone("/proc/self/status"), Unknown, "status", "mount -t proc"},
		{"open-files", "few", files(256, nil), Limited, "256", "ulimit -n 4096"},
		{"open-files", "unlimited", files(unix.RLIM_INFINITY, nil), OK, "no limit", ""},
		{"open-files", "unknown", files(0, errOther), Unknown, "something else", "ulimit"},
		{"oom-score", "no file", gone(oom), Unknown, "oom_score_adj", "CAP_SYS_RESOURCE"},
		{"oom-score", "no number", file(oom, "x"), Unknown, "no number", "CAP_SYS_RESOURCE"},
		{"oom-score", "low already", file(oom, "-1000\n"), OK, "-1000 already", ""},
		{"oom-score", "may not", func(t *testing.T, h *host) { h.link(t, oom, "/proc/version") }, Unknown, "no number", "CAP_SYS_RESOURCE"},
		{"oom-score", "read-only", readOnlyScore, Limited, "may not ask", "CAP_SYS_RESOURCE"},
	}
}

// readOnlyScore makes the score a file that can be read and not written, also
// by root: the kernel refuses what is no number there.
func readOnlyScore(t *testing.T, h *host) {
	const name = "/proc/sys/kernel/random/poolsize"
	if text, err := os.ReadFile(name); err != nil || strings.TrimSpace(string(text)) == "" {
		t.Skip("there is no file that nobody may write")
	}
	h.link(t, "/proc/self/oom_score_adj", name)
}

func confinementCases() []badCase {
	user := set(func(h *host) { h.euid = func() int { return 1000 } })
	namespace := func(t *testing.T, h *host) { h.link(t, "/proc/self/ns/pid", "pid:[4026532199]") }
	return []badCase{
		{"user-namespace", "rootless", file("/proc/self/uid_map", "0 1000 1\n1 100000 65536\n"), Limited, "user namespace", "outside"},
		{"user-namespace", "none in the kernel", gone("/proc/self/uid_map"), OK, "no user namespaces", ""},
		{"user-namespace", "unreadable", func(t *testing.T, h *host) { h.unopenable(t, "/proc/self/uid_map") }, Unknown, "uid_map", "mount"},
		{"container", "docker", both(file("/.dockerenv", ""), namespace), Limited, "/.dockerenv", "on the host itself"},
		{"container", "podman", both(file("/run/.containerenv", ""), namespace), Limited, "containerenv", "on the host itself"},
		{"container", "by its control group", both(file("/proc/self/cgroup", "0::/docker/ab12\n"), namespace), Limited, "control group of docker", "on the host itself"},
		{"container", "with the host's processes", file("/.dockerenv", ""), OK, "host's processes", ""},
		{"container", "a namespace alone", namespace, Limited, "not seen", "on the host itself"},
		{"container", "marks alone", both(file("/.dockerenv", ""), gone("/proc/self/ns")), Limited, "in a container", "on the host itself"},
		{"container", "unknown", gone("/proc/self/ns"), Unknown, "pid", "mount"},
		{"session", "ordinary user", user, Limited, "unit of this shell", "systemd-run"},
		{"session", "killed at logout", both(user, file("/etc/systemd/logind.conf", "[Login]\n#KillUserProcesses=no\nKillUserProcesses=yes\n")), Limited, "logout", "enable-linger"},
		{"session", "drop-in has the last word", both(user, file("/etc/systemd/logind.conf", "KillUserProcesses=yes\n"), file("/etc/systemd/logind.conf.d/9.conf", "KillUserProcesses = no\n")), Limited, "unit of this shell", "systemd-run"},
		{"session", "no systemd-run", set(func(h *host) { h.lookPath = func(string) error { return exec.ErrNotFound } }), Limited, "no systemd-run", "apt-get"},
		{"session", "no systemd", both(user, gone("/run/systemd")), OK, "no systemd", ""},
	}
}

func noQEMU(err error) func(*testing.T, *host) {
	return set(func(h *host) {
		h.probe = func(context.Context, string) (qemu.Probed, error) { return qemu.Probed{}, err }
	})
}

func qemuCases() []badCase {
	kvm := func(version int, err error) func(*testing.T, *host) {
		return set(func(h *host) { h.kvmVersion = func(string) (int, error) { return version, err } })
	}
	probed := func(p qemu.Probed) func(*testing.T, *host) {
		return set(func(h *host) { h.probe = func(context.Context, string) (qemu.Probed, error) { return p, nil } })
	}
	old := qemu.Version{Major: 3, Minor: 1}
	now := qemu.Version{Major: 9, Minor: 1}
	return []badCase{
		{"kvm", "none", kvm(0, fs.ErrNotExist), Limited, "no /dev/kvm", "modprobe"},
		{"kvm", "none in the container", both(file("/.dockerenv", ""), kvm(0, fs.ErrNotExist)), Limited, "container", "--device /dev/kvm"},
		{"kvm", "closed", kvm(0, fs.ErrPermission), Limited, "cannot be opened", "adduser"},
		{"kvm", "broken", kvm(0, unix.ENOTTY), Limited, "does not answer", "modprobe"},
		{"kvm", "odd version", kvm(11, nil), Limited, "11", "kernel"},
		{"qemu", "none", noQEMU(fmt.Errorf("find QEMU: %w", exec.ErrNotFound)), NotAble, "no qemu-system-x86_64", "apt-get install qemu-system-x86"},
		{"qemu", "not executable", noQEMU(&os.PathError{Op: "exec", Path: "q", Err: unix.EACCES}), NotAble, "permission", "chmod +x"},
		{"qemu", "does not start", noQEMU(errors.New("it ended at once;\nit said: no")), NotAble, "it ended at once; it said: no", "-machine none"},
		{"qemu", "old", probed(qemu.Probed{Version: old}), NotAble, "3.1.0", "4.0"},
		{"qemu", "newer than tested", probed(qemu.Probed{Version: now}), OK, "tested with 7.2", ""},
		{"qemu-migration", "lacks something", probed(qemu.Probed{Version: now, Missing: []string{"x-ignore-shared"}}), NotAble, "x-ignore-shared", "4.0"},
		{"qemu-migration", "no QEMU", noQEMU(errOther), Unknown, "not asked", "qemu above"},
		{"accelerators", "no kvm", probed(qemu.Probed{Accelerators: []string{"tcg"}}), Limited, "tcg", "with KVM"},
		{"accelerators", "silent", probed(qemu.Probed{Version: old}), Unknown, "does not list", "5.0"},
		{"accelerators", "no QEMU", noQEMU(errOther), Unknown, "not asked", "qemu above"},
	}
}

func memoryCases() []badCase {
	room := func(change func(*qemu.Room), err error) func(*testing.T, *host) {
		return set(func(h *host) {
			good := h.room
			h.room = func(dir string) (qemu.Room, error) {
				r, _ := good(dir)
				change(&r)
				return r, err
			}
		})
	}
	failing := func(err error) func(*testing.T, *host) { return room(func(*qemu.Room) {}, err) }
	denied := func(err error) func(*testing.T, *host) {
		return set(func(h *host) { h.writable = func(string) error { return err } })
	}
	huge := func(c vmm.Check, err error) func(*testing.T, *host) {
		return set(func(h *host) { h.huge = func(string) (vmm.Check, error) { return c, err } })
	}
	noSize := set(func(h *host) { h.Memory = 0 })
	return []badCase{
		{"tmpfs", "missing", failing(fs.ErrNotExist), NotAble, "no /dev/shm", "mkdir -p /dev/shm && mount -t tmpfs -o size=1152M"},
		{"tmpfs", "unknown", failing(errOther), Unknown, "something else", "root"},
		{"tmpfs", "a disk", room(func(r *qemu.Room) { r.IsTmpfs = false }, nil), NotAble, "not on a tmpfs", "mount -t tmpfs"},
		{"tmpfs", "read-only", denied(unix.EROFS), NotAble, "read-only", "remount,rw"},
		{"tmpfs", "too small", room(func(r *qemu.Room) { r.Free = 512 << 20 }, nil), NotAble, "1024 MiB", "remount,size=1152M /dev/shm"},
		{"tmpfs", "full, size not given", both(noSize, room(func(r *qemu.Room) { r.Free = 0 }, nil)), NotAble, "0 MiB are free", "remount,size=75%"},
		{"tmpfs", "without limit", room(func(r *qemu.Room) { r.Free, r.Size = ^uint64(0), ^uint64(0) }, nil), OK, "no limit", ""},
		{"host-memory", "short", room(func(r *qemu.Room) { r.Memory = 1 << 30 }, nil), NotAble, "this host has 1024 MiB", "free -m"},
		{"host-memory", "unknown", failing(errOther), Unknown, "something else", "tmpfs"},
		{"memory-cgroup", "unknown", failing(errOther), Unknown, "something else", "tmpfs"},
		{"memory-cgroup", "limited", limitedGroup, NotAble, "the limit of", "MemoryMax"},
		{"huge-pages", "refused by the preflight", huge(vmm.Check{Status: vmm.StatusRefused, Detail: "would fill in", Fix: "mount -o remount,huge=never"}, nil), NotAble, "fill in", "huge=never"},
		{"huge-pages", "unknown", huge(vmm.Check{}, errOther), Unknown, "something else", "tmpfs"},
		{"huge-pages", "none in the kernel", gone("/sys/kernel/mm"), OK, "unknown", ""},
	}
}

// limitedGroup puts the process into a control group with a limit; the room is
// read from files.
func limitedGroup(t *testing.T, h *host) {
	for name, text := range map[string]string{
		"/proc/meminfo": "MemAvailable: 9000000 kB\n", "/proc/self/cgroup": "0::/small\n",
		"/proc/self/mountinfo": "31 23 0:28 / /cg rw - cgroup2 cgroup2 rw\n",
		"/cg/small/memory.max": "100000000\n", "/cg/small/memory.current": "50000000\n", "/dev/shm/x": "",
	} {
		h.write(t, name, text)
	}
	h.room = qemu.Host{Root: h.root}.Room
}

func networkCases() []badCase {
	network := func(change func(*sockets), err error) func(*testing.T, *host) {
		return set(func(h *host) {
			found, _ := h.sockets()
			change(&found)
			h.sockets = func() (sockets, error) { return found, err }
		})
	}
	none := func(*sockets) {}
	listen := func(err error) func(*testing.T, *host) {
		return set(func(h *host) { h.listen = func(context.Context, string) error { return err } })
	}
	return []badCase{
		{"udp-buffers", "small to receive", network(func(s *sockets) { s.receive = 416 << 10 }, nil), Limited, "416 KiB to receive", "sysctl -w net.core.rmem_max=7340032 net.core.wmem_max=7340032"},
		{"udp-buffers", "small to send", network(func(s *sockets) { s.send = 2 << 20 }, nil), Limited, "2 MiB to send", "sysctl -w"},
		{"udp-buffers", "no sockets", network(none, unix.EPERM), NotAble, "not permitted", "RestrictAddressFamilies"},
		{"udp-buffers", "unknown", network(none, errOther), Unknown, "something else", "lo up"},
		{"udp-offload", "no UDP_SEGMENT", network(func(s *sockets) { s.segment = unix.ENOPROTOOPT }, nil), Limited, "no UDP_SEGMENT", "5.0"},
		{"udp-offload", "no UDP_GRO", network(func(s *sockets) { s.coalesce = unix.ENOPROTOOPT }, nil), OK, "UDP_GRO does not", ""},
		{"udp-offload", "turned off", func(t *testing.T, _ *host) { t.Setenv("QUIC_GO_DISABLE_GSO", "true") }, Limited, "turns UDP_SEGMENT off", "unset"},
		{"udp-offload", "unknown", network(none, errOther), Unknown, "something else", "udp-buffers"},
		{"listen", "in use", listen(unix.EADDRINUSE), NotAble, "in use", "ss -ulpn sport = :7000"},
		{"listen", "privileged", listen(unix.EACCES), NotAble, "privilege", "1024"},
		{"listen", "another host's", listen(unix.EADDRNOTAVAIL), NotAble, "no address of this host", "ip -brief address"},
		{"listen", "no such name", listen(&net.DNSError{Err: "no such host", Name: "x"}), NotAble, "no such host", "/etc/hosts"},
		{"listen", "odd error", listen(errOther), NotAble, "something else", "--listen"},
	}
}

func stateCases() []badCase {
	denied := func(err error) func(*testing.T, *host) {
		return set(func(h *host) { h.writable = func(string) error { return err } })
	}
	on := func(kind int64, free uint64, err error) func(*testing.T, *host) {
		return set(func(h *host) { h.fileSys = func(string) (fileSystem, error) { return fileSystem{kind, free}, err } })
	}
	takes := func(d time.Duration, err error) func(*testing.T, *host) {
		return set(func(h *host) { h.syncTime = func(string) ([]time.Duration, error) { return []time.Duration{d}, err } })
	}
	identity := func(err error) func(*testing.T, *host) {
		return set(func(h *host) {
			h.identity = func(string) (*quictransport.Identity, error) { return nil, fmt.Errorf("load identity: %w", err) }
		})
	}
	noPlace := both(gone("/var"), file("/var", ""))
	return []badCase{
		{"state-dir", "denied", denied(unix.EACCES), NotAble, "permission denied", "--state-dir"},
		{"state-dir", "read-only", denied(unix.EROFS), NotAble, "read-only", "mount it writable"},
		{"state-dir", "a file in its place", both(gone("/var/lib/lazymig"), file("/var/lib/lazymig", "")), NotAble, "not a directory", "--state-dir"},
		{"state-dir", "too long", set(func(h *host) { h.StateDir = "/var/lib/" + strings.Repeat("x", 90) }), NotAble, "too long, by", "shorter --state-dir"},
		{"state-dir", "long", set(func(h *host) { h.StateDir = "/var/lib/" + strings.Repeat("x", 72) }), Limited, "names of VMs may have 10 bytes", "shorter --state-dir"},
		{"state-dir", "not made yet", gone("/var/lib"), OK, "will be made in /var", ""},
		{"state-disk", "tmpfs", on(unix.TMPFS_MAGIC, 8<<30, nil), Limited, "tmpfs, which a reboot empties", "local disk"},
		{"state-disk", "in a container", on(unix.OVERLAYFS_SUPER_MAGIC, 8<<30, nil), Limited, "overlayfs", "local disk"},
		{"state-disk", "shared by hosts", on(unix.NFS_SUPER_MAGIC, 8<<30, nil), Limited, "NFS", "local disk"},
		{"state-disk", "full", on(unix.EXT4_SUPER_MAGIC, 0, nil), NotAble, "full", "df -h"},
		{"state-disk", "nearly full", on(unix.EXT4_SUPER_MAGIC, 1<<20, nil), Limited, "1 MiB free", "df -h"},
		{"state-disk", "unknown", on(0, 0, errOther), Unknown, "something else", "state-dir"},
		{"state-disk", "nowhere", noPlace, Unknown, "not a directory", "state-dir"},
		{"state-sync", "slow", takes(20*time.Millisecond, nil), Limited, "20ms", "faster disk"},
		{"state-sync", "broken disk", takes(0, unix.EIO), NotAble, "cannot force", "replace"},
		{"state-sync", "denied", takes(0, unix.EACCES), Unknown, "not measured", "root"},
		{"state-sync", "nowhere", noPlace, Unknown, "not a directory", "state-dir"},
		{"identity", "none", both(gone("/etc/lazymig"), identity(quictransport.ErrNoIdentity)), NotAble, "identity", "lazymig cert ca && lazymig cert issue"},
		{"identity", "unreadable", func(t *testing.T, h *host) {
			h.identity = func(string) (*quictransport.Identity, error) {
				return quictransport.LoadIdentity(h.path("/etc/lazymig/tls"))
			}
		}, NotAble, "ca.crt is missing", "lazymig cert"},
		{"identity", "expires", func(t *testing.T, h *host) { h.identity = identityFor(t, 50*time.Hour) }, Limited, "ends in 2 days", "lazymig cert issue host7"},
		{"identity", "expired", set(func(h *host) { h.now = func() time.Time { return time.Now().Add(400 * 24 * time.Hour) } }), NotAble, "ended on", "cert issue"},
		{"identity", "not needed", both(set(func(h *host) { h.Insecure = true }), identity(errOther)), OK, "insecure-loopback", ""},
	}
}
