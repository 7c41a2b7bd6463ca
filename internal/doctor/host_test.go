package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lazymig/lazymig/internal/vmm"
	"github.com/lazymig/lazymig/internal/vmm/qemu"
	"github.com/lazymig/lazymig/quictransport"
	"github.com/lazymig/lazymig/uffd"
)

// goodFiles are those of a host on which nothing is wrong.
var goodFiles = map[string]string{
	"/proc/sys/kernel/osrelease":                                       "6.8.0-1-amd64\n",
	"/sys/devices/system/clocksource/clocksource0/current_clocksource": "tsc\n",
	"/dev/userfaultfd":                                                 "",
	"/proc/sys/vm/unprivileged_userfaultfd":                            "0\n",
	"/proc/self/status":                                                "Name:\tx\nCapEff:\t000001ffffffffff\nSeccomp:\t0\n",
	"/proc/sys/kernel/yama/ptrace_scope":                               "1\n",
	"/proc/self/uid_map":                                               "         0          0 4294967295\n",
	"/proc/self/cgroup":                                                "0::/system.slice/x.service\n",
	"/proc/self/oom_score_adj":                                         "0\n",
	"/run/systemd/system/x":                                            "",
	"/sys/kernel/mm/transparent_hugepage/shmem_enabled":                "always within_size [advise] never\n",
	"/var/lib/lazymig/x":                                               "",
	"/etc/lazymig/tls/x":                                               "",
}

const everything = uffd.FeatureMissingShmem | uffd.FeatureEventRemove | uffd.FeaturePoison

// goodHost returns a host on which nothing is wrong.
func goodHost(t *testing.T) *host {
	t.Helper()
	h := &host{
		Config: Config{
			Role: Both, StateDir: "/var/lib/lazymig", TLSDir: "/etc/lazymig/tls", RAMDir: "/dev/shm",
			QEMU: "qemu-system-x86_64", Listen: "0.0.0.0:7000", Memory: 1 << 30,
		},
		root:    t.TempDir(),
		machine: func() (string, error) { return "x86_64", nil }, pageSize: func() int { return 4096 },
		euid: func() int { return 0 }, openFiles: func() (uint64, error) { return 4096, nil },
		clock:       func() (time.Duration, error) { return time.Nanosecond, nil },
		userfaultfd: func(bool) error { return nil }, features: func() (uffd.Feature, error) { return everything, nil },
		preflight:  func() vmm.Check { return vmm.Check{Status: vmm.StatusOK} },
		device:     openOnly,
		pidfd:      func() error { return nil },
		getfd:      func() error { return nil },
		kvmVersion: func(string) (int, error) { return 12, nil },
		probe: func(context.Context, string) (qemu.Probed, error) {
			return qemu.Probed{Path: "/usr/bin/qemu", Version: qemu.Version{Major: 7, Minor: 2}, Accelerators: []string{"tcg", "kvm"}}, nil
		},
		room: func(dir string) (qemu.Room, error) {
			return qemu.Room{Directory: dir, IsTmpfs: true, Size: 8 << 30, Free: 8 << 30, Memory: 8 << 30, Group: ^uint64(0)}, nil
		},
		huge:     func(string) (vmm.Check, error) { return vmm.Check{Status: vmm.StatusOK}, nil },
		writable: func(string) error { return nil },
		fileSys: func(string) (fileSystem, error) {
			return fileSystem{unix.EXT4_SUPER_MAGIC, 8 << 30}, nil
		},
		syncTime: func(string) ([]time.Duration, error) { return slices.Repeat([]time.Duration{time.Millisecond}, 4), nil },
		identity: identityFor(t, 300*24*time.Hour),
		sockets:  func() (sockets, error) { return sockets{receive: 8 << 20, send: 8 << 20}, nil },
		listen:   func(context.Context, string) error { return nil },
		lookPath: func(string) error { return nil }, now: time.Now,
	}
	for name, text := range goodFiles {
		h.write(t, name, text)
	}
	h.link(t, "/proc/self/ns/pid", firstPIDNamespace)
	return h
}

// openOnly stands for tryDevice where the device is a file.
func openOnly(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return f.Close()
}

func (h *host) write(t *testing.T, name, text string) {
	t.Helper()
	full := h.path(name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(full), 0o755), os.WriteFile(full, []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
}

func (h *host) link(t *testing.T, name, target string) {
	t.Helper()
	h.remove(t, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(h.path(name)), 0o755), os.Symlink(target, h.path(name))); err != nil {
		t.Fatal(err)
	}
}

func (h *host) remove(t *testing.T, name string) {
	t.Helper()
	if err := os.RemoveAll(h.path(name)); err != nil {
		t.Fatal(err)
	}
}

// unopenable puts something in the place of a file that cannot be opened for
// writing, whoever tries.
func (h *host) unopenable(t *testing.T, name string) {
	t.Helper()
	h.remove(t, name)
	if err := os.MkdirAll(h.path(name), 0o755); err != nil {
		t.Fatal(err)
	}
}

// identityFor returns a function that loads an identity valid for so long.
func identityFor(t *testing.T, validity time.Duration) func(string) (*quictransport.Identity, error) {
	t.Helper()
	dir := t.TempDir()
	if err := errors.Join(quictransport.CreateCA(dir), quictransport.Issue(dir, "host7", validity)); err != nil {
		t.Fatal(err)
	}
	return func(string) (*quictransport.Identity, error) { return quictransport.LoadIdentity(dir) }
}

// look runs one check.
func (h *host) look(t *testing.T, name string) finding {
	t.Helper()
	for _, c := range checks() {
		if c.name == name {
			return c.look(t.Context(), h)
		}
	}
	t.Fatalf("there is no check %q", name)
	return finding{}
}

func TestGoodHost(t *testing.T) {
	h := goodHost(t)
	results := h.run(t.Context())
	for _, r := range results {
		if r.Status != OK || r.Fix != "" || r.Detail == "" {
			t.Errorf("%+v", r)
		}
	}
	s := Summarize(h.Config, results)
	if s.Worst() != Ready || s.Source != Ready || s.Destination != Ready || s.Counts.OK != len(checks()) {
		t.Errorf("%+v", s)
	}
}

// TestRoles leaves out what concerns the other side only.
func TestRoles(t *testing.T) {
	for role, wants := range map[Role]map[string]bool{
		Source:      {"kvm": false, "listen": false, "identity": true},
		Destination: {"kvm": true, "listen": true, "identity": true},
	} {
		h := goodHost(t)
		h.Role = role
		results := h.run(t.Context())
		for name, want := range wants {
			if got := slices.ContainsFunc(results, func(r Result) bool { return r.Name == name }); got != want {
				t.Errorf("as %s: %s examined? %v", role, name, got)
			}
		}
		s := Summarize(h.Config, results)
		if role == Source && (s.Source != Ready || s.Destination != NotAsked) || role == Destination && (s.Source != NotAsked || s.Destination != Ready) {
			t.Errorf("as %s: %+v", role, s)
		}
	}
	h := goodHost(t)
	h.Listen = ""
	for _, r := range h.run(t.Context()) {
		if r.Name == "listen" {
			t.Error("no --listen, and it was tried")
		}
	}
}

func TestSummary(t *testing.T) {
	result := func(name string, role Role, status Status) Result {
		return Result{Name: name, Role: role, Status: status, Fix: "mend " + name}
	}
	for name, c := range map[string]struct {
		results             []Result
		source, destination Severity
		next                string
	}{
		"unknown is a limit":  {[]Result{result("a", Both, Unknown)}, SomeLimit, SomeLimit, "lazymig receive"},
		"one side only":       {[]Result{result("a", Destination, NotAble), result("b", Source, Limited)}, SomeLimit, Unable, "a: mend a"},
		"the worst counts":    {[]Result{result("a", Both, Limited), result("b", Both, NotAble), result("c", Both, OK)}, Unable, Unable, "b: mend b"},
		"a command first":     {[]Result{{Name: "c", Role: Both, Status: NotAble, Fix: "see d"}, result("d", Both, NotAble)}, Unable, Unable, "d: mend d"},
		"ordinary user first": {[]Result{result("b", Both, NotAble), result("user", Both, Limited)}, Unable, Unable, "look again as root"},
	} {
		s := Summarize(Config{Role: Both}, c.results)
		if s.Source != c.source || s.Destination != c.destination || len(s.Next) < len(c.next) || s.Next[:len(c.next)] != c.next {
			t.Errorf("%s: %+v", name, s)
		}
	}
	s := Summarize(Config{Role: Both}, []Result{result("a", Both, Limited), result("b", Both, NotAble), result("c", Both, Unknown)})
	if fmt.Sprint(s.SourceNames) != "[b a c]" || s.Counts != (Counts{0, 1, 1, 1}) {
		t.Errorf("%+v", s)
	}
}
