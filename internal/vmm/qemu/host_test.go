package qemu

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lazymig/lazymig/internal/vmm"
)

// fakeHost returns a Host whose files are those given, by their paths.
func fakeHost(t *testing.T, files map[string]string) Host {
	t.Helper()
	h := Host{Root: t.TempDir()}
	for name, text := range files {
		full := h.path(name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(full), 0o700), os.WriteFile(full, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

func TestHostRoom(t *testing.T) {
	h := fakeHost(t, map[string]string{
		"/proc/meminfo":           "MemTotal: 9 kB\nMemAvailable:  2048 kB\nSwapFree: 1024 kB\n",
		"/proc/self/cgroup":       "0::/a\n",
		"/proc/self/mountinfo":    "31 23 0:28 / /cg rw - cgroup2 cgroup2 rw\n",
		"/cg/a/memory.max":        "1000000\n",
		"/cg/a/memory.current":    "400000\n",
		"/ram/a-file-of-somebody": "",
	})
	room, err := h.Room("/ram")
	if err != nil || room.Memory != 3<<20 || room.Group != 600000 || room.Least() != 600000 || room.Free == 0 {
		t.Fatalf("%+v, %v", room, err)
	}
	if checks := room.Check(500000); vmm.Refused(checks) {
		t.Errorf("refused: %+v", checks)
	}
	for size, name := range map[uint64]string{2 << 20: "memory-cgroup", 4 << 20: "host-memory", 1 << 60: "tmpfs-space"} {
		if checks := room.Check(size); statusOf(checks, name) != vmm.StatusRefused {
			t.Errorf("%d bytes: %+v", size, checks)
		}
	}
	if _, err := h.Room("/none"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing directory: %v", err)
	}
}

func TestHostHugePages(t *testing.T) {
	for name, c := range map[string]struct {
		release, policy, option string
		want                    vmm.Status
	}{
		"old, huge mount":   {"5.15.0-1-amd64", "always [never]", "rw,huge=always", vmm.StatusRefused},
		"old, forced":       {"5.15.0-1-amd64", "never [force]", "rw", vmm.StatusRefused},
		"old, off":          {"5.15.0-1-amd64", "always [never]", "rw", vmm.StatusOK},
		"new kernel":        {"6.4.0", "never [force]", "rw,huge=always", vmm.StatusOK},
		"old, denied to it": {"6.1.0", "never [deny]", "rw,huge=always", vmm.StatusOK},
	} {
		t.Run(name, func(t *testing.T) {
			h := fakeHost(t, map[string]string{
				"/proc/sys/kernel/osrelease":                        c.release + "\n",
				"/sys/kernel/mm/transparent_hugepage/shmem_enabled": c.policy + "\n",
				"/ram/x": "",
			})
			var status unix.Stat_t
			if err := unix.Stat(h.path("/ram"), &status); err != nil {
				t.Fatal(err)
			}
			line := fmt.Sprintf("1 2 %d:%d / /ram rw - tmpfs tmpfs %s\n", unix.Major(status.Dev), unix.Minor(status.Dev), c.option)
			if err := errors.Join(os.MkdirAll(h.path("/proc/self"), 0o700), os.WriteFile(h.path("/proc/self/mountinfo"), []byte(line), 0o600)); err != nil {
				t.Fatal(err)
			}
			if got, err := h.CheckHugePages("/ram"); err != nil || got.Status != c.want || (got.Fix == "") != (c.want == vmm.StatusOK) {
				t.Errorf("%+v, %v, want %s", got, err, c.want)
			}
		})
	}
}

func TestProbe(t *testing.T) {
	t.Parallel()
	needQEMU(t)
	found, err := Probe(t.Context(), "qemu-system-x86_64")
	if err != nil {
		t.Fatal(err)
	}
	if !found.Version.AtLeast(4, 0) || len(found.Missing) > 0 || !slices.Contains(found.Accelerators, "tcg") {
		t.Errorf("%+v", found)
	}
	if os.Geteuid() == 0 && found.Userfaultfd != nil {
		t.Errorf("no userfaultfd in QEMU: %v", found.Userfaultfd)
	}
}

// TestProbeBehindAWrapper finds and ends the QEMU that a script has started.
func TestProbeBehindAWrapper(t *testing.T) {
	t.Parallel()
	needQEMU(t)
	wrapper := filepath.Join(shortDir(t), "wrapper")
	if err := os.WriteFile(wrapper, []byte("#!/bin/sh\nqemu-system-x86_64 \"$@\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	found, err := Probe(t.Context(), wrapper)
	if err != nil || !found.Version.AtLeast(4, 0) {
		t.Fatalf("%+v, %v", found, err)
	}
	if os.Geteuid() == 0 && found.Userfaultfd != nil {
		t.Errorf("no userfaultfd in QEMU: %v", found.Userfaultfd)
	}
}

// TestProbeFails is about programs that are no QEMU.
func TestProbeFails(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	refuses := filepath.Join(dir, "refuses")
	if err := os.WriteFile(refuses, []byte("#!/bin/sh\necho no such machine >&2\nexit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for program, want := range map[string]string{
		"no-such-qemu": "executable file not found",
		refuses:        "no such machine",
	} {
		if _, err := Probe(t.Context(), program); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", program, err, want)
		}
	}
}
