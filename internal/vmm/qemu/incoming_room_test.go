package qemu

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/lazymig/lazymig/bench/prereq"
	"github.com/lazymig/lazymig/internal/vmm"

	"golang.org/x/sys/unix"
)

// statusOf returns the worst status of the checks with that name.
func statusOf(checks []vmm.Check, name string) vmm.Status {
	worst := vmm.Status("")
	for _, c := range checks {
		order := []vmm.Status{"", vmm.StatusOK, vmm.StatusWarning, vmm.StatusRefused}
		if c.Name == name && slices.Index(order, c.Status) > slices.Index(order, worst) {
			worst = c.Status
		}
	}
	return worst
}

func mountAt(t *testing.T, kind, options string) string {
	t.Helper()
	directory := t.TempDir()
	if err := unix.Mount(kind, directory, kind, 0, options); err != nil {
		t.Skipf("cannot mount a %s here: %v", kind, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(directory, 0); err != nil {
			t.Error(err)
		}
	})
	return directory
}

func TestPreflightOfASmallTmpfs(t *testing.T) {
	x := newIncomingTest(t)
	x.ram = filepath.Join(mountAt(t, "tmpfs", "size=64m"), "ram")
	x.start(t, x.guestArgs("q35"))
	source, err := x.Describe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for bytes, want := range map[uint64]vmm.Status{32 << 20: vmm.StatusWarning, 63 << 20: vmm.StatusRefused} {
		source.Allocated = bytes
		checks, err := x.Preflight(t.Context(), source)
		if got := statusOf(checks, "tmpfs-space"); err != nil || got != want {
			t.Errorf("%d bytes: %s, %v, want %s", bytes, got, err, want)
		}
	}
}

func TestPreflightOfALimitedControlGroup(t *testing.T) {
	x := newIncomingTest(t)
	group := makeMemoryGroup(t, 96<<20)
	x.start(t, x.guestArgs("q35"))
	err := os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(strconv.Itoa(x.PID())), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	source, err := x.Describe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for bytes, want := range map[uint64]vmm.Status{16 << 20: vmm.StatusOK, 100 << 20: vmm.StatusRefused} {
		source.Allocated = bytes
		checks, err := x.Preflight(t.Context(), source)
		if got := statusOf(checks, "memory-cgroup"); err != nil || got != want {
			t.Errorf("%d bytes: %s, %v, want %s", bytes, got, err, want)
		}
	}
}

// makeMemoryGroup makes a control group with a memory limit in bytes.
func makeMemoryGroup(t *testing.T, limit int) string {
	t.Helper()
	mounts, err := Host{}.readMounts()
	if err != nil {
		t.Fatal(err)
	}
	problem := errors.New("no memory controller is mounted")
	for _, m := range mounts {
		controllers := ""
		if m.kind == "cgroup" {
			controllers = "memory"
		}
		files, ok := m.memoryController(controllers)
		if !ok {
			continue
		}
		group := filepath.Join(m.point, "qemu-incoming-"+strconv.Itoa(os.Getpid()))
		if problem = os.Mkdir(group, 0o700); problem != nil {
			continue
		}
		t.Cleanup(func() { waitUntil(t, "the end of the group", func() bool { return unix.Rmdir(group) == nil }) })
		if problem = os.WriteFile(filepath.Join(group, files.limit), []byte(strconv.Itoa(limit)), 0o600); problem == nil {
			return group
		}
	}
	t.Skipf("cannot make a memory control group here: %v", problem)
	return ""
}

func TestHugePageFileSystems(t *testing.T) {
	x := newIncomingTest(t)
	refused := func(why string) {
		t.Helper()
		_, err := NewIncoming(IncomingConfig{Args: x.guestArgs("q35"), Dir: x.dir, Tag: "t1"})
		if err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("got %v", err)
		}
	}
	x.ram = filepath.Join(mountAt(t, "hugetlbfs", "pagesize=1G"), "ram")
	refused("1024 MiB")
	x.ram = filepath.Join(mountAt(t, "hugetlbfs", "pagesize=2M"), "ram") + ",reserve=off"
	refused("reserve=off")
}

// TestArmHugePages starts a QEMU whose RAM is in huge pages, and arms it.
func TestArmHugePages(t *testing.T) {
	prereq.HugePages(t, 64)
	x := newIncomingTest(t)
	x.ram = filepath.Join(mountAt(t, "hugetlbfs", "pagesize=2M"), "ram")
	x.start(t, x.guestArgs("q35"))
	source, err := x.Describe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	checks, err := x.Preflight(t.Context(), source)
	if got := statusOf(checks, "hugetlb-pages"); err != nil || got != vmm.StatusOK {
		t.Errorf("%s, %v", got, err)
	}
	for _, c := range checks {
		if c.Status != vmm.StatusOK {
			t.Errorf("%+v", c)
		}
	}
	handle, mappings, err := x.Arm(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer handle.Close()
	if len(mappings) != 1 || !mappings[0].Huge {
		t.Errorf("mapped at %+v", mappings)
	}
}
