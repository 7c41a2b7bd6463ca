package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lazymig/lazymig/failover"
	"github.com/lazymig/lazymig/internal/migrate"
	"github.com/lazymig/lazymig/internal/vmm/process"
	"github.com/lazymig/lazymig/internal/vmm/qemu"
	"github.com/lazymig/lazymig/internal/vmm/qmp"
)

// examineGuest runs the checks of a source on a guest that runs. It holds the
// monitor for that time and changes nothing.
func (h *host) examineGuest(ctx context.Context) []Result {
	ctx, cancel := context.WithTimeoutCause(ctx, guestTimeout, fmt.Errorf("the guest was not examined in %v", guestTimeout))
	defer cancel()
	result := func(name string, f finding) Result {
		return Result{name, groupGuest, Source, f.status, f.detail, f.fix}
	}
	guest, err := qemu.Attach(ctx, h.QMP)
	if err != nil {
		return []Result{result("monitor", h.explainDial(err))}
	}
	defer guest.Close()
	found := []Result{result("monitor", ok("QEMU, process %d, answers", guest.PID()))}
	about, err := guest.Describe(ctx)
	if err != nil {
		return append(found, result("description", explainMonitor(err)))
	}
	list, err := guest.Preflight(ctx)
	if err != nil {
		return append(found, result("preflight", explainMonitor(err)))
	}
	found = append(found, result("name", checkName(about.Name)), result("journal", h.checkJournal(about.Name)))
	return append(found, results(groupGuest, Source, list)...)
}

// explainDial words why nobody greets: QEMU serves one client at a time, and
// none while it is stopped.
func (h *host) explainDial(err error) finding {
	if !errors.Is(err, qmp.ErrInUse) {
		return explainMonitor(err)
	}
	if pid := listenerOf(h.QMP); pid > 0 {
		if stopped, err := process.IsStopped(pid); err == nil && stopped {
			return notAble(fmt.Sprintf("kill -CONT %d", pid), "QEMU, process %d, is stopped by a signal (SIGSTOP)", pid)
		}
	}
	return notAble("give lazymig a monitor of its own, a second -qmp unix:PATH,server=on,wait=off (ss -xp src "+h.QMP+" shows who holds this one)",
		"another client holds this monitor, or QEMU hangs")
}

// listenerOf returns the process that listens on a socket, 0 if it is unknown.
func listenerOf(path string) int {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		return 0
	}
	peer, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return 0
	}
	return int(peer.Pid)
}

// explainMonitor words why a guest could not be examined.
func explainMonitor(err error) finding {
	fix := "look at QEMU, and at its monitor"
	switch {
	case errors.Is(err, qmp.ErrNotQMP):
		fix = "give the PATH of QEMU's -qmp unix:PATH,server=on,wait=off"
	case errors.Is(err, qmp.ErrNoAnswer), errors.Is(err, context.DeadlineExceeded):
		fix = "QEMU hangs: see what it waits for (cat /proc/PID/wchan, its disks, its log)"
	case errors.Is(err, fs.ErrPermission):
		fix = "run as root or as QEMU's user"
	case errors.Is(err, qemu.ErrNoVMM):
		fix = "run lazymig on QEMU's host, as root"
	}
	return notAble(fix, "%s", firstLine(err))
}

// checkName: both sides know a guest by its name.
func checkName(name string) finding {
	if name == "" {
		return limited("start QEMU with -name NAME, or give --vm NAME to send and receive", "QEMU runs without -name")
	}
	if _, err := migrate.VMDir("", name); err != nil {
		return limited("give --vm NAME to send and receive", "%v", err)
	}
	return ok("%s", name)
}

// checkJournal: the last migration of a guest of that name may be open.
func (h *host) checkJournal(name string) finding {
	dir, err := migrate.VMDir(h.path(h.StateDir), name)
	if err != nil {
		return ok("nothing is known of it")
	}
	records, err := failover.ReadJournal(dir)
	holder := h.lockHolder(filepath.Join(dir, "journal.lock"))
	switch {
	case holder != "":
		return notAble("lazymig status "+name+" --follow, or lazymig cancel "+name, "process %s of lazymig works on this guest now", holder)
	case errors.Is(err, fs.ErrPermission):
		return unknown("run as root", "%v", err)
	case err != nil:
		return notAble("lazymig status "+name+" says what is safe", "%v", err)
	case len(records) == 0:
		return ok("no migration of it is known")
	}
	if err := failover.CheckSend(records); err != nil {
		return notAble("lazymig status "+name+" says what is safe", "%v", err)
	}
	return ok("no migration of it is open")
}

// lockHolder returns the process that holds a lock on a file, empty if none
// does. It asks the kernel's list, as a lock of its own could be in the way of
// others.
func (h *host) lockHolder(path string) string {
	var status unix.Stat_t
	text, err := h.read("/proc/locks")
	if err != nil || unix.Stat(path, &status) != nil {
		return ""
	}
	file := fmt.Sprintf("%02x:%02x:%d", unix.Major(status.Dev), unix.Minor(status.Dev), status.Ino)
	for line := range strings.Lines(text) {
		// NUMBER: FLOCK ADVISORY WRITE PID MAJOR:MINOR:INODE START END
		fields := strings.Fields(line)
		if len(fields) == 8 && fields[1] == "FLOCK" && fields[5] == file {
			return fields[4]
		}
	}
	return ""
}
