package metal

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lazymig/lazymig/bench/host"
)

// fakeSSH runs what ssh would run elsewhere on this machine.
var fakeSSH = []string{"sh", "-c", `for a; do :; done; exec sh -c "$a"`, "ssh"}

// open starts a helper, which is this test, on this machine. Nothing may stay
// of it.
func open(t *testing.T) *Remote {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", t.TempDir())
	r, err := connect(t.Context(), fakeSSH, "here", program)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.call("facts", factsArgs{QEMU: "false"}, &r.facts); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil && r.lost.Err() == nil {
			t.Errorf("close: %v", err)
		}
		gone(t, r.facts.Dir, r.facts.RAMDir)
		if left, _ := os.ReadDir(os.Getenv("TMPDIR")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})
	return r
}

// gone waits until files are gone: a helper that was cut off cleans up by
// itself.
func gone(t *testing.T, paths ...string) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(2 * silence)
	for _, path := range paths {
		for _, err := os.Stat(path); err == nil; _, err = os.Stat(path) {
			select {
			case <-tick.C:
			case <-deadline:
				t.Errorf("%s is still there", path)
				return
			}
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestFiles(t *testing.T) {
	r := open(t)
	folder := filepath.Join(r.facts.Dir, "folder")
	must(t, r.Mkdir(folder))
	if err := r.Mkdir(folder); err == nil || !strings.Contains(err.Error(), "exists") || !strings.HasPrefix(err.Error(), "here: ") {
		t.Errorf("a folder twice: %v", err)
	}
	content := bytes.Repeat([]byte("0123456789abcdef"), (2*chunk+160)/16) // more than a line has room for
	file := filepath.Join(folder, "file")
	holes := slices.Concat(make([]byte, 2*chunk), content[:chunk], make([]byte, 3*chunk), []byte("end"), make([]byte, 2*chunk))
	for _, text := range [][]byte{nil, content, holes, holes[:5*chunk], content} { // each replaces the one before
		must(t, r.Write(file, text, 0o640))
		got, err := os.ReadFile(file)
		if err != nil || !bytes.Equal(got, text) {
			t.Fatalf("%d bytes of %d: %v", len(got), len(text), err)
		}
	}
	if status, err := os.Stat(file); err != nil || status.Mode().Perm() != 0o640 {
		t.Errorf("mode %v: %v", status, err)
	}
	if tail := r.Tail(file, 5); tail != "bcdef" {
		t.Errorf("tail %q", tail)
	}
	if r.Tail(file+"x", 5) != "" {
		t.Error("a file that is not there has a tail")
	}
	if n, err := r.Allocated(file); err != nil || n == 0 {
		t.Errorf("allocated %d: %v", n, err)
	}
	must(t, r.Write(file, holes, 0o600))
	if n, err := r.Allocated(file); err != nil || n >= uint64(len(holes)) {
		t.Errorf("%d bytes are allocated for a file with holes: %v", n, err)
	}
	must(t, r.Remove(filepath.Join(folder, "f*")))
	must(t, r.Remove(filepath.Join(folder, "f*")))
	if _, err := os.Stat(file); err == nil {
		t.Error("it is still there")
	}
}

// words collects what a program says.
type words struct {
	mu   sync.Mutex
	text strings.Builder
}

func (w *words) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(b)
}

func (w *words) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

func TestPrograms(t *testing.T) {
	r := open(t)
	var out, problems words
	p, err := r.Start(host.Command{Args: []string{"sh", "-c", "echo out; echo problem >&2; exit 3"}, Stdout: &out, Stderr: &problems})
	must(t, err)
	<-p.Ended()
	if p.Err() == nil || !strings.Contains(p.Err().Error(), "exit status 3") || out.String() != "out\n" || problems.String() != "problem\n" {
		t.Errorf("%v, %q, %q", p.Err(), out.String(), problems.String())
	}
	log := filepath.Join(r.facts.Dir, "log")
	p, err = r.Start(host.Command{Args: []string{"echo", "logged"}, Log: log})
	must(t, err)
	<-p.Ended()
	if p.Err() != nil || r.Tail(log, 100) != "logged\n" {
		t.Errorf("%v, %q", p.Err(), r.Tail(log, 100))
	}
	if _, err := r.Start(host.Command{Args: []string{"/nonexistent/program"}, Log: log}); err == nil {
		t.Error("a program that is not there was started")
	}
	p, err = r.Start(host.Command{Args: []string{"sleep", "1000"}, Log: log})
	must(t, err)
	if p.Kill(); p.Err() == nil {
		t.Error("a killed program has ended well")
	}
}

// TestOrphans: what a program leaves behind is watched, and ends with Clear.
func TestOrphans(t *testing.T) {
	r := open(t)
	var out words
	w, err := r.Watch()
	must(t, err)
	p, err := r.Start(host.Command{Args: []string{"sh", "-c", `setsid sh -c 'i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; exec sleep 1000' >/dev/null 2>&1 & echo $!`}, Stdout: &out, Stderr: io.Discard})
	must(t, err)
	<-p.Ended()
	pid, err := strconv.Atoi(strings.TrimSpace(out.String()))
	must(t, err)
	var spent host.Spent
	for deadline := time.Now().Add(time.Minute); spent.Time == 0 && time.Now().Before(deadline); {
		if spent, err = w.Spent(); err != nil {
			t.Fatal(err)
		}
	}
	if spent.Time <= 0 || spent.Resident[pid] == 0 || spent.Peak == 0 {
		t.Errorf("spent %+v by %d", spent, pid)
	}
	must(t, w.Exclude(pid, []int{pid}, spent.Resident[pid]))
	must(t, w.Rebase())
	must(t, r.Clear())
	if state, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat")); err == nil && !bytes.Contains(state, []byte(") Z ")) {
		t.Errorf("it lives: %s", state)
	}
	must(t, w.Close())
}

func TestSockets(t *testing.T) {
	r := open(t)
	path := filepath.Join(r.facts.Dir, "socket")
	l, err := r.Listen(path)
	must(t, err)
	conn, err := net.Dial("unix", path)
	must(t, err)
	defer conn.Close()
	c, err := l.Accept()
	must(t, err)
	if c.PID() != os.Getpid() {
		t.Errorf("process %d", c.PID())
	}
	must(t, l.Close())
	exchange(t, conn, c)
	must(t, conn.Close())
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("at its end: %v", err)
	}
	must(t, c.Close())

	there, err := net.Listen("unix", path)
	must(t, err)
	defer there.Close()
	local, err := r.Reach(path)
	must(t, err)
	here, err := net.Dial("unix", local)
	must(t, err)
	far, err := there.Accept()
	must(t, err)
	defer far.Close()
	exchange(t, here, far)
	must(t, here.Close())
	if _, err := far.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("at its end: %v", err)
	}
}

// exchange sends something in both directions.
func exchange(t *testing.T, a, b io.ReadWriter) {
	t.Helper()
	for _, ends := range [][2]io.ReadWriter{{a, b}, {b, a}} {
		text := bytes.Repeat([]byte("x"), chunk+1)
		sent := make(chan error, 1)
		go func() {
			_, err := ends[0].Write(text)
			sent <- err
		}()
		got := make([]byte, len(text))
		if _, err := io.ReadFull(ends[1], got); err != nil || !bytes.Equal(got, text) {
			t.Fatalf("a stream: %v", err)
		}
		must(t, <-sent)
	}
}

func TestClock(t *testing.T) {
	c, err := open(t).Clock()
	if err != nil || c.Bound <= 0 || c.Bound > time.Second || c.Offset.Abs() > c.Bound {
		t.Errorf("%+v: %v", c, err)
	}
}

// TestLost: when ssh ends, everything here ends with an error, everything there
// is cleaned up, and no goroutine waits for it.
func TestLost(t *testing.T) {
	r := open(t)
	p, err := r.Start(host.Command{Args: []string{"sleep", "1000"}, Log: filepath.Join(r.facts.Dir, "log")})
	must(t, err)
	l, err := r.Listen(filepath.Join(r.facts.Dir, "socket"))
	must(t, err)
	line, ok := r.out.out.(io.Closer)
	if !ok {
		t.Fatal("there is no line to cut")
	}
	must(t, line.Close())
	if _, err := l.Accept(); err == nil {
		t.Error("a socket has a caller")
	}
	if <-p.Ended(); p.Err() == nil {
		t.Error("a program has ended well")
	}
	<-r.lost.Done()
	if err := errors.Join(r.Clear(), r.Remove("x"), l.Close()); err != nil {
		t.Errorf("cleaning up: %v", err)
	}
	if _, err := r.Counters(); !errors.Is(err, errLost) {
		t.Errorf("a call: %v", err)
	}
}

// TestConnectFailures: what is said when there is no helper.
func TestConnectFailures(t *testing.T) {
	for _, c := range []struct{ ssh, want string }{
		{"echo 'Permission denied (publickey).' >&2; exit 255", "Permission denied (publickey)"},
		{"exec yes chatter", "says too much"},
		{"exit 0", "ended before"},
		{`for a; do :; done; echo welcome; exec sh -c "$a"`, "Exec format error"},
	} {
		t.Setenv("TMPDIR", t.TempDir())
		_, err := connect(t.Context(), []string{"sh", "-c", c.ssh, "ssh"}, "nowhere", []byte("\x7fELFxyz"))
		failure, ok := errors.AsType[*SSHError](err)
		if !ok || failure.Hint() == "" || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v", c.ssh, err)
		}
		if left, _ := os.ReadDir(os.Getenv("TMPDIR")); len(left) > 0 {
			t.Errorf("%q: left behind: %v", c.ssh, left)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("stopped"))
	if _, err := connect(ctx, []string{"sleep", "1000"}, "nowhere", nil); err == nil || !strings.Contains(err.Error(), "stopped") {
		t.Errorf("stopped: %v", err)
	}
}

func TestParseTarget(t *testing.T) {
	for text, want := range map[string]Target{
		"root@a": {"root@a", ""}, "a=10.0.0.1": {"a", "10.0.0.1"}, "root@a=fd00::1": {"root@a", "fd00::1"},
	} {
		if got, err := ParseTarget(text); err != nil || got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "=10.0.0.1", "-oProxyCommand=x", "a=b", "a b", "a="} {
		if got, err := ParseTarget(text); err == nil {
			t.Errorf("%q: %+v", text, got)
		}
	}
}

// TestCheck: each lack of a machine has its words and its hint.
func TestCheck(t *testing.T) {
	h := &Hosts{config: Config{Accel: "kvm", MemoryMiB: 1024}}
	good := Facts{FreeRAM: 2 << 30, QEMU: "7.2"}
	for want, change := range map[string]func(*Facts){
		"":                         func(*Facts) {},
		"as user 5":                func(f *Facts) { f.User = 5 },
		"no QEMU: gone":            func(f *Facts) { f.NoQEMU = "gone" },
		"no KVM: off":              func(f *Facts) { f.NoKVM = "off" },
		"userfaultfd does not":     func(f *Facts) { f.NoFaultFD = "forbidden" },
		"1024 MiB free, and 1126 ": func(f *Facts) { f.FreeRAM = 1 << 30 },
	} {
		f := good
		change(&f)
		err := h.check(&Remote{name: "a", facts: f})
		if want == "" {
			must(t, err)
			continue
		}
		failure, ok := errors.AsType[*CheckError](err)
		if !ok || failure.Hint() == "" || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
}
