package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lazymig/lazymig/internal/agent"
)

// commandTimeout bounds every command of these tests.
const commandTimeout = 60 * time.Second

// frontend is a running `lazymig-pretend send`.
type frontend struct {
	*exec.Cmd
	state  string // directory
	events *bufio.Scanner
	stderr bytes.Buffer
}

// startSend starts a front end whose engine does what vm says.
func startSend(t *testing.T, vm string, options ...string) *frontend {
	t.Helper()
	return startFrontend(t, vm, append([]string{"send", "--qmp", monitor(t), "--to", "127.0.0.1:1"}, options...)...)
}

// startReceive is startSend at the destination.
func startReceive(t *testing.T, vm string, options ...string) *frontend {
	t.Helper()
	return startFrontend(t, vm, append(append([]string{"receive", "--listen", "127.0.0.1:1"}, options...), "--", "true")...)
}

// monitor returns a socket that looks like a monitor from far away.
func monitor(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "q")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(greet(listener, ""))
	return path
}

func startFrontend(t *testing.T, vm string, args ...string) *frontend {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), commandTimeout)
	t.Cleanup(cancel)
	f := &frontend{state: filepath.Join(t.TempDir(), "state")}
	shared := []string{args[0], "--vm", vm, "--insecure-loopback", "--state-dir", f.state, "--json"}
	f.Cmd = exec.CommandContext(ctx, "lazymig-pretend", append(shared, args[1:]...)...)
	f.Stderr = &f.stderr
	out, err := f.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	f.events = bufio.NewScanner(out)
	if err := f.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.awaitEngine(t, vm) })
	return f
}

// awaitEngine lets an engine that still pretends end, and waits for it.
func (f *frontend) awaitEngine(t *testing.T, vm string) {
	if err := os.WriteFile(filepath.Join(f.state, "arrive"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	session, err := agent.Dial(f.state, vm)
	if errors.Is(err, agent.ErrNoEngine) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	_ = session.Cancel() // it may end by itself
	for err == nil {
		_, err = session.Next()
	}
}

// await reads events until one contains text.
func (f *frontend) await(t *testing.T, text string) {
	t.Helper()
	for f.events.Scan() {
		if strings.Contains(f.events.Text(), text) {
			return
		}
	}
	t.Fatalf("no event with %s; standard error: %s", text, f.stderr.String())
}

// ends waits for the front end and returns its exit code.
func (f *frontend) ends(t *testing.T) int {
	t.Helper()
	for f.events.Scan() { // Wait closes the pipe
		continue
	}
	if err := f.Wait(); err != nil && f.ProcessState == nil {
		t.Fatal(err)
	}
	return f.ProcessState.ExitCode()
}

func (f *frontend) signal(t *testing.T, sig os.Signal) {
	t.Helper()
	if err := f.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

func TestInterruptBeforeTheCommitTakesBack(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		t.Run(sig.String(), func(t *testing.T) {
			f := startSend(t, vmAborts)
			f.await(t, "PREPARING")
			f.signal(t, sig)
			f.await(t, `"event":"report"`)
			if code := f.ends(t); code != exitFailed {
				t.Errorf("exit code %d, want %d", code, exitFailed)
			}
			want := "lazymig: taking the migration back; again to leave without waiting\nlazymig: error: cancelled\nlazymig: hint: try again\n"
			if got := f.stderr.String(); got != want {
				t.Errorf("standard error %q, want %q", got, want)
			}
		})
	}
}

func TestInterruptBehindTheCommitDetaches(t *testing.T) {
	f := startSend(t, vmCommits)
	f.await(t, "progress")
	f.signal(t, os.Interrupt)
	if code := f.ends(t); code != exitPending {
		t.Errorf("exit code %d, want %d", code, exitPending)
	}
	if got := f.stderr.String(); !strings.Contains(got, "lazymig status commits --state-dir "+f.state+" --follow") {
		t.Errorf("standard error %q does not say how to follow", got)
	}
	follow := exec.CommandContext(t.Context(), "lazymig", "status", vmCommits, "--follow", "--state-dir", f.state, "--json")
	out, err := follow.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := follow.Start(); err != nil {
		t.Fatal(err)
	}
	seen := bufio.NewReader(out)
	if line, err := seen.ReadString('\n'); err != nil || !strings.Contains(line, "CEDED") {
		t.Errorf("the follower begins with %q, %v", line, err)
	}
	if err := os.WriteFile(filepath.Join(f.state, "arrive"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	said, err := io.ReadAll(seen)
	if err := errors.Join(err, follow.Wait()); err != nil {
		t.Errorf("follow: %v", err)
	}
	if !strings.Contains(string(said), `"outcome":"done"`) {
		t.Errorf("the follower saw %q", said)
	}
}

func TestInterruptLostAgainstTheCommit(t *testing.T) {
	f := startSend(t, vmBeatsYou)
	f.await(t, "PREPARING")
	f.signal(t, os.Interrupt)
	if code := f.ends(t); code != exitPending {
		t.Errorf("exit code %d, want %d; standard error: %s", code, exitPending, f.stderr.String())
	}
}

func TestCancelCommand(t *testing.T) {
	for vm, want := range map[string]int{vmAborts: exitDone, vmCommits: exitPending, vmBeatsYou: exitPending} {
		t.Run(vm, func(t *testing.T) {
			f := startSend(t, vm)
			if vm == vmCommits {
				f.await(t, "progress")
			} else {
				f.await(t, "PREPARING")
			}
			cancel := exec.CommandContext(t.Context(), "lazymig", "cancel", vm, "--state-dir", f.state)
			out, err := cancel.CombinedOutput()
			if code := cancel.ProcessState.ExitCode(); code != want {
				t.Errorf("exit code %d, want %d: %v, %s", code, want, err, out)
			}
		})
	}
}

func TestStatusOfARunningEngine(t *testing.T) {
	f := startSend(t, vmCommits)
	f.await(t, "progress")
	out, err := exec.CommandContext(t.Context(), "lazymig", "status", "--state-dir", f.state).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, want := range []string{"commits: ", "engine  lazymig send, pid ", "pages   500 of 1000"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("status lacks %q:\n%s", want, out)
		}
	}
}

func TestEngineKilled(t *testing.T) {
	f := startSend(t, vmDies)
	if code := f.ends(t); code != exitFailed {
		t.Errorf("exit code %d, want %d", code, exitFailed)
	}
	if got := f.stderr.String(); !strings.Contains(got, "the engine died: signal: killed") || !strings.Contains(got, "lazymig status dies") {
		t.Errorf("standard error %q", got)
	}
}

func TestSecondSendOfTheSameGuest(t *testing.T) {
	f := startSend(t, vmAborts)
	f.await(t, "PREPARING")
	second := exec.CommandContext(t.Context(), f.Path, f.Args[1:]...)
	out, err := second.CombinedOutput()
	if code := second.ProcessState.ExitCode(); code != exitUsage || !strings.Contains(string(out), "another engine is at work") {
		t.Errorf("exit code %d, %v: %s", code, err, out)
	}
}

func TestEndOfAWait(t *testing.T) {
	t.Run("interrupt", func(t *testing.T) {
		f := startReceive(t, vmWaits)
		f.await(t, "waiting for")
		f.signal(t, os.Interrupt)
		if code := f.ends(t); code != exitFailed {
			t.Errorf("exit code %d, want %d", code, exitFailed)
		}
		if got := f.stderr.String(); !strings.Contains(got, "nothing has come; ending the wait") || strings.Contains(got, "back") {
			t.Errorf("standard error %q", got)
		}
	})
	t.Run("cancel", func(t *testing.T) {
		f := startReceive(t, vmWaits)
		f.await(t, "waiting for")
		out, err := exec.CommandContext(t.Context(), "lazymig", "cancel", vmWaits, "--state-dir", f.state).CombinedOutput()
		if want := "Nothing had come of waits; this host waits for it no more.\n"; err != nil || string(out) != want {
			t.Errorf("%q, %v; want %q", out, err, want)
		}
		f.ends(t)
	})
}
