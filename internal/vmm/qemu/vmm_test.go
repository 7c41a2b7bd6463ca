package qemu

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lazymig/lazymig/internal/vmm"
	"github.com/lazymig/lazymig/internal/vmm/process"

	"github.com/lazymig/lazymig/internal/vmm/qmp"
)

// testVMM is a real QEMU with two monitors: one for lazymig, and one that
// plays the part of somebody else.
type testVMM struct {
	t       *testing.T
	cmd     *exec.Cmd
	path    string // lazymig's monitor
	other   *qmp.Client
	log     string // path
	exited  chan struct{}
	waitErr error
}

var ramNumber atomic.Int64

// needQEMU skips the test where there is no QEMU, but not in CI.
func needQEMU(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		const text = "qemu-system-x86_64 is not installed (package qemu-system-x86)"
		if os.Getenv("CI") == "true" {
			t.Fatal(text)
		}
		t.Skip(text)
	}
}

// needRoot skips the test for ordinary users.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

// ramPath returns a new name on tmpfs that is removed with the test.
func ramPath(t *testing.T) string {
	t.Helper()
	path := fmt.Sprintf("/dev/shm/lazymig-source-test-%d-%d", os.Getpid(), ramNumber.Add(1))
	t.Cleanup(func() { os.RemoveAll(path) })
	return path
}

// fileRAM returns the arguments of one shared file backend.
func fileRAM(t *testing.T, id, size string) []string {
	t.Helper()
	return []string{"-object", fmt.Sprintf("memory-backend-file,id=%s,size=%s,mem-path=%s,share=on", id, size, ramPath(t))}
}

// plainGuest returns the arguments of a guest with 64 MiB that lazymig can
// move. It has no operating system: its firmware looks for one.
func plainGuest(t *testing.T, machine string) []string {
	t.Helper()
	return append(fileRAM(t, "ram0", "64M"), "-m", "64M", "-machine", machine+",memory-backend=ram0")
}

func startVMM(t *testing.T, args ...string) *testVMM {
	t.Helper()
	needQEMU(t)
	dir := shortDir(t)
	v := &testVMM{t: t, path: filepath.Join(dir, "q"), exited: make(chan struct{})}
	other := filepath.Join(dir, "o")
	all := append([]string{
		"-accel", "tcg", "-nodefaults", "-display", "none",
		"-qmp", "unix:" + v.path + ",server=on,wait=off", "-qmp", "unix:" + other + ",server=on,wait=off",
	}, args...)
	v.cmd = exec.Command("qemu-system-x86_64", all...)
	v.log = filepath.Join(dir, "log")
	log, err := os.Create(v.log)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	v.cmd.Stdout, v.cmd.Stderr = log, log
	if err := v.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(v.exited)
		v.waitErr = v.cmd.Wait()
	}()
	t.Cleanup(v.stop)
	v.other = v.dial(other)
	return v
}

// shortDir returns a new directory whose path fits into a socket's.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "lmsrc") //nolint:usetesting // t.TempDir is too long: it holds the test's name
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// dial connects to a monitor that may not listen yet.
func (v *testVMM) dial(path string) *qmp.Client {
	v.t.Helper()
	var client *qmp.Client
	eventually(v.t, "QEMU's monitor", func() bool {
		select {
		case <-v.exited:
			v.t.Fatalf("QEMU ended: %v: %s", v.waitErr, process.LogTail(v.log))
		default:
		}
		c, err := qmp.Dial(v.t.Context(), path)
		client = c
		return err == nil
	})
	v.t.Cleanup(func() { client.Close() })
	return client
}

func (v *testVMM) stop() {
	_ = v.cmd.Process.Kill()
	<-v.exited
}

// attach attaches lazymig to the VMM.
func (v *testVMM) attach() *Guest {
	v.t.Helper()
	g, err := Attach(v.t.Context(), v.path)
	if err != nil {
		v.t.Fatal(err)
	}
	v.t.Cleanup(func() { g.Close() })
	return g
}

// do runs a command on the other monitor.
func (v *testVMM) do(command string, args any) {
	v.t.Helper()
	if err := v.other.Execute(v.t.Context(), command, args, nil); err != nil {
		v.t.Fatal(err)
	}
}

// status asks the other monitor for the run state.
func (v *testVMM) status() string {
	v.t.Helper()
	s, err := queries{v.other}.status(v.t.Context())
	if err != nil {
		v.t.Fatal(err)
	}
	return s.Status
}

// settings returns QEMU's migration settings as text.
func (v *testVMM) settings() string {
	v.t.Helper()
	c, err := queries{v.other}.capabilities(v.t.Context())
	if err != nil {
		v.t.Fatal(err)
	}
	p, err := queries{v.other}.textParameters(v.t.Context())
	if err != nil {
		v.t.Fatal(err)
	}
	return fmt.Sprint(c, p)
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(30 * time.Second)
	for !condition() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("waited 30 s for %s", what)
		}
	}
}

// find returns the check with the name.
func find(t *testing.T, checks []vmm.Check, name string) vmm.Check {
	t.Helper()
	i := slices.IndexFunc(checks, func(c vmm.Check) bool { return c.Name == name })
	if i < 0 {
		t.Fatalf("there is no check %q in %v", name, checks)
	}
	return checks[i]
}

// wantOnlyRefused asserts that exactly the named checks refuse, each with a
// fix and with text in its detail.
func wantOnlyRefused(t *testing.T, checks []vmm.Check, text string, names ...string) {
	t.Helper()
	for _, c := range checks {
		want := slices.Contains(names, c.Name)
		if (c.Status == vmm.StatusRefused) != want {
			t.Errorf("check %+v: refused? want %v", c, want)
		}
		if (c.Fix == "") != (c.Status == vmm.StatusOK) {
			t.Errorf("check %+v: wrong fix", c)
		}
		if want && !strings.Contains(c.Detail, text) {
			t.Errorf("check %+v does not mention %q", c, text)
		}
	}
	for _, name := range names {
		find(t, checks, name)
	}
}
