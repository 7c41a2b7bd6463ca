package doctor

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lazymig/lazymig/internal/vmm/qemu"
)

// TestThisHost runs every check for real. What they find is this host's own
// business; that they find it, and leave nothing, is not.
func TestThisHost(t *testing.T) {
	state := t.TempDir()
	score, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		t.Fatal(err)
	}
	c := Config{Role: Both, StateDir: state, TLSDir: filepath.Join(state, "none"), RAMDir: "/dev/shm", QEMU: "qemu-system-x86_64", Listen: "127.0.0.1:1"}
	results := Run(t.Context(), c)
	if len(results) != len(checks()) {
		t.Errorf("%d results of %d checks", len(results), len(checks()))
	}
	for _, r := range results {
		if r.Detail == "" || (r.Fix == "") != (r.Status == OK) || strings.Contains(r.Detail+r.Fix, "%!") {
			t.Errorf("%+v", r)
		}
	}
	certain := map[string]Status{"architecture": OK, "kernel": OK, "pidfd": OK, "state-dir": OK, "identity": NotAble}
	if os.Geteuid() == 0 {
		certain["user"], certain["listen"] = OK, OK
	}
	for name, want := range certain {
		if i := slices.IndexFunc(results, func(r Result) bool { return r.Name == name }); results[i].Status != want {
			t.Errorf("%+v, want %s", results[i], want)
		}
	}
	if entries, err := os.ReadDir(state); err != nil || len(entries) > 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	if after, err := os.ReadFile("/proc/self/oom_score_adj"); err != nil || string(after) != string(score) {
		t.Errorf("the OOM score is %q, was %q, %v", after, score, err)
	}
}

// TestPreflightAgrees: userfaultfd is never called good here if the preflight
// of a destination refuses it, nor the other way round.
func TestPreflightAgrees(t *testing.T) {
	h := newHost(Config{})
	got, want := checkUserfaultfdFeatures(t.Context(), h), qemu.CheckUserfaultfd()
	if fromCheck(want).status != got.status {
		t.Errorf("%+v, the preflight says %+v", got, want)
	}
}

func TestListen(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := tryListen(t.Context(), conn.LocalAddr().String()); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("a port in use: %v", err)
	}
	if err := tryListen(t.Context(), "192.0.2.1:7000"); !errors.Is(err, unix.EADDRNOTAVAIL) {
		t.Errorf("an address of nobody: %v", err)
	}
	if err := tryListen(t.Context(), "127.0.0.1:0"); err != nil {
		t.Error(err)
	}
}

func TestSockets(t *testing.T) {
	found, err := trySockets()
	if err != nil || found.receive < 4096 || found.send < 4096 {
		t.Errorf("%+v, %v", found, err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if size, err := enlarge(fd, unix.SO_RCVBUF, unix.SO_RCVBUF); err != nil || size < 4096 {
		t.Errorf("%d bytes, %v", size, err)
	}
}

func TestSync(t *testing.T) {
	dir := t.TempDir()
	times, err := measureSync(dir)
	if err != nil || len(times) != syncs || slices.Min(times) <= 0 {
		t.Errorf("%v, %v", times, err)
	}
	if _, err := measureSync(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
}

func TestSystemFunctions(t *testing.T) {
	if name, err := machine(); err != nil || name == "" {
		t.Errorf("machine %q, %v", name, err)
	}
	if d, err := clockResolution(); err != nil || d <= 0 {
		t.Errorf("clock %v, %v", d, err)
	}
	if n, err := openFiles(); err != nil || n == 0 {
		t.Errorf("%d files, %v", n, err)
	}
	if s, err := statFileSystem("/proc"); err != nil || s.kind != unix.PROC_SUPER_MAGIC {
		t.Errorf("%+v, %v", s, err)
	}
	if err := writable("/proc/none"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("writable: %v", err)
	}
	if _, err := kvmVersion(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no KVM: %v", err)
	}
	if err := tryDevice("/dev/null"); !errors.Is(err, unix.ENOTTY) {
		t.Errorf("not the device of userfaultfd: %v", err)
	}
	if err := tryDevice(userfaultfdDevice); err != nil && os.Geteuid() == 0 && !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the device of userfaultfd: %v", err)
	}
	if err := tryGetfd(); err != nil && !errors.Is(err, unix.EPERM) {
		t.Errorf("duplicate a descriptor: %v", err)
	}
	if _, err := kvmVersion("/dev/null"); !errors.Is(err, unix.ENOTTY) {
		t.Errorf("not KVM: %v", err)
	}
}

// TestAsOrdinaryUser runs the real functions as nobody, in a thread that gives
// up its user for good.
func TestAsOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to become another user")
	}
	var got []string
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and ends with the goroutine
		for _, call := range [][3]uintptr{{unix.SYS_SETGROUPS, 0, 0}, {unix.SYS_SETRESGID, 65534, 65534}, {unix.SYS_SETRESUID, 65534, 65534}} {
			if _, _, errno := unix.RawSyscall(call[0], call[1], call[2], 65534); errno != 0 {
				got = append(got, errno.Error())
				return
			}
		}
		h := newHost(Config{StateDir: "/var/lib/lazymig-of-nobody"})
		if f := checkStateDir(t.Context(), h); f.status != NotAble {
			got = append(got, fmt.Sprintf("state-dir: %+v", f))
		}
		if f := checkUserfaultfdDevice(t.Context(), h); h.exists(userfaultfdDevice) && h.openDevice() != nil && f.status != NotAble {
			got = append(got, fmt.Sprintf("uffd-device: %+v", f))
		}
	}()
	<-done
	for _, text := range got {
		t.Error(text)
	}
}
