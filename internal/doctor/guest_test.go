package doctor

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/failover"
	"github.com/lazymig/lazymig/internal/migrate"
	"github.com/lazymig/lazymig/internal/vmm/process"
	"github.com/lazymig/lazymig/internal/vmm/qmp"
)

// startQEMU starts a guest without an operating system and returns the paths
// of two monitors.
func startQEMU(t *testing.T, args ...string) (own, other string) {
	t.Helper()
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		const text = "qemu-system-x86_64 is not installed (package qemu-system-x86)"
		if os.Getenv("CI") == "true" {
			t.Fatal(text)
		}
		t.Skip(text)
	}
	dir, err := os.MkdirTemp("", "lmdoc") //nolint:usetesting // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	own, other = filepath.Join(dir, "q"), filepath.Join(dir, "o")
	command := exec.Command("qemu-system-x86_64", append([]string{
		"-accel", "tcg", "-nodefaults", "-display", "none",
		"-qmp", "unix:" + own + ",server=on,wait=off", "-qmp", "unix:" + other + ",server=on,wait=off",
	}, args...)...)
	var output strings.Builder
	command.Stderr = &output
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	timeout := time.After(30 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		client, err := qmp.Dial(t.Context(), other)
		if err == nil {
			client.Close()
			return own, other
		}
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("QEMU does not come up: %v; %s", err, output.String())
		}
	}
}

// sharedRAM returns the arguments of a guest that can be moved.
func sharedRAM(t *testing.T) []string {
	t.Helper()
	path := fmt.Sprintf("/dev/shm/lazymig-doctor-test-%d-%s", os.Getpid(), filepath.Base(t.TempDir()))
	t.Cleanup(func() { os.Remove(path) })
	return []string{"-object", "memory-backend-file,id=ram0,size=32M,share=on,mem-path=" + path, "-m", "32M", "-machine", "q35,memory-backend=ram0"}
}

func examine(t *testing.T, monitor, state string) []Result {
	t.Helper()
	h := goodHost(t)
	h.QMP, h.root, h.StateDir = monitor, "/", state
	return h.examineGuest(t.Context())
}

func find(t *testing.T, list []Result, name string) Result {
	t.Helper()
	i := slices.IndexFunc(list, func(r Result) bool { return r.Name == name })
	if i < 0 {
		t.Fatalf("there is no %q in %+v", name, list)
	}
	return list[i]
}

func TestGoodGuest(t *testing.T) {
	own, other := startQEMU(t, append(sharedRAM(t), "-name", "web1")...)
	list := examine(t, own, t.TempDir())
	for _, r := range list {
		if r.Status != OK || r.Group != groupGuest || r.Role != Source {
			t.Errorf("%+v", r)
		}
	}
	if len(list) < 15 || find(t, list, "name").Detail != "web1" || !strings.Contains(find(t, list, "ram ram0").Detail, "/dev/shm/") {
		t.Errorf("%d results: %+v", len(list), list)
	}
	client, err := qmp.Dial(t.Context(), other)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var status json.RawMessage
	if err := client.Execute(t.Context(), "query-status", nil, &status); err != nil || !strings.Contains(string(status), `"running": true`) {
		t.Errorf("the guest was disturbed: %s, %v", status, err)
	}
}

func TestPrivateGuest(t *testing.T) {
	own, _ := startQEMU(t, "-m", "32M", "-machine", "pc")
	list := examine(t, own, t.TempDir())
	r := find(t, list, "ram pc.ram")
	if r.Status != NotAble || !strings.Contains(r.Detail, "private memory") || !strings.Contains(r.Fix, "memory-backend-file") {
		t.Errorf("%+v", r)
	}
	if r := find(t, list, "name"); r.Status != Limited || !strings.Contains(r.Fix, "--vm NAME") {
		t.Errorf("%+v", r)
	}
	if s := Summarize(Config{Role: Source}, list); s.Source != Unable || s.SourceNames[0] != "ram pc.ram" {
		t.Errorf("%+v", s)
	}
}

// TestBusyMonitor: somebody else holds the only connection that QEMU serves.
func TestBusyMonitor(t *testing.T) {
	own, _ := startQEMU(t, append(sharedRAM(t), "-name", "web1")...)
	holder, err := qmp.Dial(t.Context(), own)
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close()
	list := examine(t, own, t.TempDir())
	if r := find(t, list, "monitor"); len(list) != 1 || r.Status != NotAble || !strings.Contains(r.Detail, "another client") || !strings.Contains(r.Fix, "monitor of its own") {
		t.Errorf("%+v", list)
	}
}

// TestStoppedQEMU: what looks like another client may be a QEMU that stands
// still.
func TestStoppedQEMU(t *testing.T) {
	own, other := startQEMU(t, append(sharedRAM(t), "-name", "web1")...)
	pid := listenerOf(other) // a queue of QEMU's has room for two, and no more once it is stopped
	watched, err := process.Watch(pid, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer watched.Release()
	if err := watched.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := find(t, examine(t, own, t.TempDir()), "monitor"); r.Status != NotAble || !strings.Contains(r.Detail, "stopped by a signal") || r.Fix != fmt.Sprintf("kill -CONT %d", pid) {
		t.Errorf("%+v", r)
	}
	if pid := listenerOf(filepath.Join(t.TempDir(), "none")); pid != 0 {
		t.Errorf("process %d listens nowhere", pid)
	}
}

func TestNoMonitor(t *testing.T) {
	dir := t.TempDir()
	silent := filepath.Join(dir, "s")
	listener, err := net.Listen("unix", silent)
	if err != nil {
		t.Fatal(err)
	}
	listener.(*net.UnixListener).SetUnlinkOnClose(false)
	listener.Close()
	for path, want := range map[string]string{filepath.Join(dir, "none"): "no such socket", silent: "nobody listens"} {
		if r := find(t, examine(t, path, dir), "monitor"); r.Status != NotAble || !strings.Contains(r.Detail, want) || r.Fix == "" {
			t.Errorf("%+v, want %q", r, want)
		}
	}
}

// TestJournal: a guest that was handed over is not sent once more.
func TestJournal(t *testing.T) {
	for name, c := range map[string]struct {
		state failover.State
		want  Status
	}{
		"handed over": {failover.StateCeded, NotAble},
		"taken back":  {failover.StateRunning, OK},
		"arrived":     {failover.StateComplete, OK},
	} {
		t.Run(name, func(t *testing.T) {
			state := t.TempDir()
			dir, err := migrate.VMDir(state, "web1")
			if err != nil {
				t.Fatal(err)
			}
			journal, err := failover.OpenJournal(dir)
			if err != nil {
				t.Fatal(err)
			}
			if err := journal.Append(failover.Record{VM: lazymig.VMID{1}, Epoch: 1, State: c.state}, true); err != nil {
				t.Fatal(err)
			}
			h := goodHost(t)
			h.root, h.StateDir = "/", state
			if got := h.checkJournal("web1"); got.status != NotAble || !strings.Contains(got.detail, fmt.Sprintf("process %d ", os.Getpid())) {
				t.Errorf("an engine is at work: %+v", got)
			}
			if err := journal.Close(); err != nil {
				t.Fatal(err)
			}
			if got := h.checkJournal("web1"); got.status != c.want || (got.fix == "") != (c.want == OK) {
				t.Errorf("%+v, want %s", got, c.want)
			}
			if got := h.checkJournal("other"); got.status != OK {
				t.Errorf("%+v", got)
			}
			if err := os.WriteFile(filepath.Join(dir, "journal"), []byte("no journal"), 0o600); err != nil {
				t.Fatal(err)
			}
			if got := h.checkJournal("web1"); got.status != NotAble || !strings.Contains(got.fix, "lazymig status web1") {
				t.Errorf("a broken journal: %+v", got)
			}
		})
	}
}

func TestExplainMonitor(t *testing.T) {
	for err, want := range map[error]string{
		qmp.ErrNotQMP:    "-qmp unix:PATH",
		qmp.ErrNoAnswer:  "hangs",
		os.ErrPermission: "run as root",
		errOther:         "look at QEMU",
	} {
		if f := explainMonitor(fmt.Errorf("ask: %w", err)); f.status != NotAble || !strings.Contains(f.fix, want) {
			t.Errorf("%v: %+v", err, f)
		}
	}
	if f := checkName("bad name"); f.status != Limited || !strings.Contains(f.fix, "--vm") {
		t.Errorf("%+v", f)
	}
}
