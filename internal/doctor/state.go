package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// fileSystem is what statfs tells.
type fileSystem struct {
	kind int64 // the magic number
	free uint64
}

func statFileSystem(path string) (fileSystem, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return fileSystem{}, fmt.Errorf("look at the file system of %s: %w", path, err)
	}
	return fileSystem{s.Type, s.Bavail * uint64(s.Bsize)}, nil
}

// volatile are file systems that a reboot, or the end of a container, empties.
var volatile = map[int64]string{
	unix.TMPFS_MAGIC:           "tmpfs, which a reboot empties",
	unix.RAMFS_MAGIC:           "ramfs, which a reboot empties",
	unix.OVERLAYFS_SUPER_MAGIC: "overlayfs, which goes with its container",
}

// shared are file systems that another host may use at the same time.
var shared = map[int64]string{
	unix.NFS_SUPER_MAGIC:  "NFS",
	unix.SMB_SUPER_MAGIC:  "SMB",
	unix.SMB2_SUPER_MAGIC: "SMB",
	unix.CIFS_SUPER_MAGIC: "CIFS",
	unix.CEPH_SUPER_MAGIC: "CephFS",
	unix.AFS_SUPER_MAGIC:  "AFS",
}

func writable(directory string) error {
	return unix.Faccessat(unix.AT_FDCWD, directory, unix.W_OK|unix.X_OK, unix.AT_EACCESS)
}

// stateBase returns the state directory, or where it would be made.
func (h *host) stateBase() (dir string, made bool, err error) {
	for dir = filepath.Clean(h.StateDir); ; dir = filepath.Dir(dir) {
		info, err := os.Stat(h.path(dir))
		switch {
		case err == nil && !info.IsDir():
			return dir, false, fmt.Errorf("%s is not a directory", dir)
		case err == nil:
			return dir, dir == filepath.Clean(h.StateDir), nil
		case !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir):
			return dir, false, err
		}
	}
}

func checkStateDir(_ context.Context, h *host) finding {
	fix := "run as root, or use another --state-dir"
	dir, made, err := h.stateBase()
	if err != nil {
		return notAble(fix, "%v", err)
	}
	if err := h.writable(h.path(dir)); err != nil {
		if errors.Is(err, unix.EROFS) {
			fix = "mount it writable, or use another --state-dir"
		}
		return notAble(fix, "%s cannot be written: %v", dir, err)
	}
	room := maxSocketPath - len(h.StateDir) - len("/vm/") - len("/engine.sock")
	const shorter = "use a shorter --state-dir: sockets are made in it"
	switch {
	case room < 1:
		return notAble(shorter, "the path %s is too long, by %d bytes", h.StateDir, 1-room)
	case room < shortName:
		return limited(shorter, "with the path %s, names of VMs may have %d bytes", h.StateDir, room)
	case made:
		return ok("%s is writable", dir)
	}
	return ok("%s will be made in %s", h.StateDir, dir)
}

// checkStateDisk: the journal says who owns a guest, so it has to outlive a
// reboot, and belong to one host.
func checkStateDisk(_ context.Context, h *host) finding {
	dir, _, err := h.stateBase()
	if err != nil {
		return unknown("see state-dir above", "%v", err)
	}
	system, err := h.fileSys(h.path(dir))
	if err != nil {
		return unknown("see state-dir above", "%v", err)
	}
	const fix = "use a --state-dir on a local disk of this host"
	if kind, found := volatile[system.kind]; found {
		return limited(fix, "%s is on %s: who owns a guest would be forgotten", dir, kind)
	}
	if kind, found := shared[system.kind]; found {
		return limited(fix, "%s is on %s: each host needs a state directory of its own", dir, kind)
	}
	switch {
	case system.free == 0:
		return notAble("df -h "+dir+" shows it; remove files", "%s is full", dir)
	case system.free < minStateBytes:
		return limited("df -h "+dir+" shows it; remove files", "%s free in %s; the state of a guest's devices may need %s", bytesText(system.free), dir, bytesText(minStateBytes))
	}
	return ok("on a disk, %s free", bytesText(system.free))
}

// measureSync writes and forces some records to a file without a name.
func measureSync(directory string) ([]time.Duration, error) {
	file, err := nameless(directory)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var times []time.Duration
	record := make([]byte, syncBytes)
	for i := range syncs + 1 {
		begin := time.Now()
		if _, err := file.WriteAt(record, int64(i)*syncBytes); err != nil {
			return nil, err
		}
		if err := unix.Fdatasync(int(file.Fd())); err != nil {
			return nil, fmt.Errorf("fdatasync: %w", err)
		}
		if i > 0 { // the first one allocates
			times = append(times, time.Since(begin))
		}
	}
	return times, nil
}

// nameless opens a file that is gone when it is closed.
func nameless(directory string) (*os.File, error) {
	fd, err := unix.Open(directory, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err == nil {
		return os.NewFile(uintptr(fd), directory), nil
	}
	if !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EISDIR) {
		return nil, err
	}
	file, err := os.CreateTemp(directory, ".lazymig-doctor")
	if err != nil {
		return nil, err
	}
	return file, os.Remove(file.Name())
}

func checkStateSync(_ context.Context, h *host) finding {
	dir, _, err := h.stateBase()
	if err != nil {
		return unknown("see state-dir above", "%v", err)
	}
	times, err := h.syncTime(h.path(dir))
	switch {
	case errors.Is(err, unix.EIO):
		return notAble("replace the disk, or use another --state-dir", "%s cannot force data to the disk: %v", dir, err)
	case err != nil:
		return unknown("run as root, or use another --state-dir", "not measured in %s: %v", dir, err)
	}
	slices.Sort(times)
	median, longest := times[len(times)/2], times[len(times)-1]
	if median >= slowSync {
		return limited("use a --state-dir on a faster disk (SSD, NVMe, or a controller with a battery)",
			"fdatasync takes %v (at most %v), and the guest waits for two of them", rounded(median), rounded(longest))
	}
	return ok("fdatasync takes %v, at most %v", rounded(median), rounded(longest))
}

func rounded(d time.Duration) time.Duration { return d.Round(10 * time.Microsecond) }

// checkIdentity loads the identity as send and receive do.
func checkIdentity(_ context.Context, h *host) finding {
	if h.Insecure {
		return ok("none is needed with --insecure-loopback")
	}
	const once = "lazymig cert ca && lazymig cert issue $(hostname -s) (once: lazymig cert --help says how to copy it to other hosts; on one machine: --insecure-loopback)"
	id, err := h.identity(h.TLSDir)
	if err != nil {
		fix := once
		if hint, ok := errors.AsType[interface {
			error
			Hint() string
		}](err); ok && h.exists(h.TLSDir) {
			fix = hint.Hint()
		}
		return notAble(fix, "%v", errors.Unwrap(err))
	}
	left := id.Expires().Sub(h.now())
	again := "lazymig cert issue " + id.Name + " where the CA is, and copy the pair to " + h.TLSDir
	switch {
	case left <= 0:
		return notAble(again, "%s ended on %s", id.Name, id.Expires().Format(time.DateOnly))
	case left < expirySoon:
		return limited(again, "%s ends in %d days, on %s", id.Name, int(left.Hours()/24), id.Expires().Format(time.DateOnly))
	}
	return ok("%s, valid until %s (%d days)", id.Name, id.Expires().Format(time.DateOnly), int(left.Hours()/24))
}
