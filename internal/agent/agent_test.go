package agent

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestEngineTellsHowItEnds(t *testing.T) {
	dir := t.TempDir()
	s := start(t, Job{StateDir: dir, QMP: atOnce, To: "host:1"})
	snapshot := next[Snapshot](t, s, LineSnapshot)
	if snapshot.VM != "web1" || snapshot.Kind != KindSend || snapshot.Peer != "host:1" || snapshot.PID == 0 {
		t.Errorf("snapshot %+v", snapshot)
	}
	exit := next[Exit](t, s, LineExit)
	if exit.Code != 3 || exit.Error != "move: it broke" || exit.Hint != "mend it" {
		t.Errorf("exit %+v", exit)
	}
	if _, err := s.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("after the exit: %v, want EOF", err)
	}
	<-s.ended
	if code := s.process.ProcessState.ExitCode(); code != 3 {
		t.Errorf("exit code %d, want 3", code)
	}
	if _, err := os.Stat(filepath.Join(dir, "vm/web1", socketName)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

// TestEnginesInTurn starts an engine as soon as it has heard the last word of
// the one before, with the same address for its metrics.
func TestEnginesInTurn(t *testing.T) {
	address, dir := freeAddress(t), t.TempDir()
	for range 20 {
		s := start(t, Job{StateDir: dir, QMP: atOnce, Metrics: address})
		if exit := next[Exit](t, s, LineExit); exit.Code != 3 {
			t.Fatalf("exit %+v", exit)
		}
		lock, err := lockDir(filepath.Join(dir, "vm/web1")) // as the next engine would, but at once
		if err != nil {
			t.Fatal(err)
		}
		metrics, err := net.Listen("tcp", address)
		if err := errors.Join(err, lock.Close()); err != nil {
			t.Fatal(err)
		}
		metrics.Close()
	}
}

// freeAddress returns an address at which nobody listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func TestEngineIsPrepared(t *testing.T) {
	s := start(t, Job{StateDir: t.TempDir(), QMP: untilCancelled})
	pid := next[Snapshot](t, s, LineSnapshot).PID
	if procs := next[testEvent](t, s, lineState).Procs; procs < minProcs || procs < procsPerCore*runtime.NumCPU() {
		t.Errorf("GOMAXPROCS is %d", procs)
	}
	next[testEvent](t, s, "progress")
	log, err := os.ReadFile(filepath.Join(s.dir, "engine.log"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(log), "lower the score") {
		t.Skip("skipped the rest: this user may not lower oom_score_adj (CAP_SYS_RESOURCE)")
	}
	score, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/oom_score_adj")
	if err != nil || strings.TrimSpace(string(score)) != strconv.Itoa(oomScore) {
		t.Errorf("oom_score_adj is %q, %v", score, err)
	}
}

func TestFrontEndKilledEngineGoesOn(t *testing.T) {
	dir := t.TempDir()
	front := exec.Command("/proc/self/exe", roleFrontEnd, dir)
	out, err := front.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := front.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() && !strings.Contains(lines.Text(), "progress") {
		continue
	}
	if err := front.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = front.Wait() // killed

	s, err := Dial(dir, "web1")
	if err != nil {
		t.Fatal(err)
	}
	pid := next[Snapshot](t, s, LineSnapshot).PID
	if sid, err := unix.Getsid(pid); err != nil || sid != pid {
		t.Errorf("the engine's session is %d, %v; want its own, %d", sid, err, pid)
	}
	a, b := next[testEvent](t, s, "progress"), next[testEvent](t, s, "progress")
	if b.Tick <= a.Tick {
		t.Errorf("ticks %d, %d", a.Tick, b.Tick)
	}
	endEngine(t, s)
	eventually(t, "the engine ends", func() bool { return errors.Is(unix.Kill(pid, 0), unix.ESRCH) || zombie(pid) })
}

// zombie reports whether a process has ended and nobody has waited for it, as
// in a container without an init.
func zombie(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && strings.Contains(string(stat), ") Z ")
}

func TestEngineKilledKeeperSeesIt(t *testing.T) {
	dir := t.TempDir()
	s := start(t, Job{StateDir: dir, QMP: withKeeper})
	next[testEvent](t, s, "progress") // the keeper is there
	if err := s.process.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	var err error
	for err == nil {
		_, err = s.Next()
	}
	if !errors.Is(err, ErrDied) || !strings.Contains(err.Error(), "signal: killed") {
		t.Errorf("the end of the session: %v", err)
	}
	kept := filepath.Join(dir, "vm/web1/kept")
	eventually(t, "the keeper acts", func() bool {
		text, err := os.ReadFile(kept)
		return err == nil && string(text) == "gone"
	})
	if _, err := Dial(dir, "web1"); !errors.Is(err, ErrNoEngine) {
		t.Errorf("dial a dead engine: %v", err)
	}
	again := start(t, Job{StateDir: dir, QMP: atOnce}) // over the stale socket
	if exit := next[Exit](t, again, LineExit); exit.Code != 3 {
		t.Errorf("an engine after a dead one: %+v", exit)
	}
}

func TestKeeperEndsWhenTold(t *testing.T) {
	dir := t.TempDir()
	s := start(t, Job{StateDir: dir, QMP: keeperEnds})
	if exit := next[Exit](t, s, LineExit); exit.Code != 0 || exit.Error != "" {
		t.Errorf("exit %+v", exit)
	}
	text, err := os.ReadFile(filepath.Join(dir, "vm/web1/kept"))
	if err != nil || string(text) != "done after 2" {
		t.Errorf("the keeper: %q, %v", text, err)
	}
}

func TestCancelIsAnsweredWithTheState(t *testing.T) {
	s := start(t, Job{StateDir: t.TempDir(), QMP: untilCancelled})
	next[testEvent](t, s, "progress")
	if err := s.Cancel(); err != nil {
		t.Fatal(err)
	}
	if a := next[Answer](t, s, LineAnswer); a.State != "running" {
		t.Errorf("answer %+v", a)
	}
	if exit := next[Exit](t, s, LineExit); exit.Code != 1 || exit.Error != "cancelled" {
		t.Errorf("exit %+v", exit)
	}
}

func TestSignalCancels(t *testing.T) {
	s := start(t, Job{StateDir: t.TempDir(), QMP: untilCancelled})
	next[testEvent](t, s, "progress")
	for _, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGTERM} { // the first one is ignored
		if err := s.process.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
	}
	if exit := next[Exit](t, s, LineExit); exit.Code != 1 {
		t.Errorf("exit %+v", exit)
	}
}

func TestSnapshotTellsWhatWasMissed(t *testing.T) {
	dir := t.TempDir()
	s := start(t, Job{StateDir: dir, QMP: untilCancelled})
	next[testEvent](t, s, "progress")
	late, err := Dial(dir, "web1")
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	last := next[Snapshot](t, late, LineSnapshot).Last
	var state testEvent
	if err := json.Unmarshal(last[lineState], &state); err != nil || state.State != "running" {
		t.Errorf("state %+v, %v", state, err)
	}
	if len(last["progress"]) == 0 {
		t.Error("no progress in the snapshot")
	}
}

func TestSecondEngineIsRefused(t *testing.T) {
	dir := t.TempDir()
	next[testEvent](t, start(t, Job{StateDir: dir, QMP: untilCancelled}), "progress")
	second := start(t, Job{StateDir: dir, QMP: untilCancelled})
	exit := next[Exit](t, second, LineExit)
	if exit.Code != exitUsage || !strings.Contains(exit.Error, "another engine") || !strings.Contains(exit.Hint, "--state-dir") {
		t.Errorf("exit %+v", exit)
	}
}

func TestEngineWithoutStarter(t *testing.T) {
	for _, role := range []string{roleEngine, roleKeeper} {
		alone := exec.Command("/proc/self/exe", role)
		out, err := alone.CombinedOutput()
		if code := alone.ProcessState.ExitCode(); code != exitUsage || !strings.Contains(string(out), "send and receive") {
			t.Errorf("%s: exit %d, %v, %s", role, code, err, out)
		}
	}
}
