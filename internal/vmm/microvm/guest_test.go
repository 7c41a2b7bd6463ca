package microvm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/lazymig/lazymig/internal/vmm"
)

// TestMain lets the test binary be a VMM.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == Command {
		c, err := ParseArgs(os.Args[2:])
		if err == nil {
			err = Run(context.Background(), c)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// startVMM starts a VMM with a small guest and attaches to it.
func startVMM(t *testing.T) (*Guest, Config) {
	t.Helper()
	dir := t.TempDir()
	c := Config{Name: "test", RAM: filepath.Join(dir, "ram"), Size: 4 << 20, Control: filepath.Join(dir, "control"), Accel: AccelNative}
	args := c.args(os.Args[0])
	vm := exec.Command(args[0], args[1:]...)
	vm.Stderr = os.Stderr
	if err := vm.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- vm.Wait() }()
	t.Cleanup(func() {
		_ = vm.Process.Kill() // some tests have done so
		<-ended
	})
	deadline := time.After(20 * time.Second)
	for {
		g, err := Attach(t.Context(), c.Control)
		if err == nil {
			t.Cleanup(func() { g.Close() })
			return g, c
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-deadline:
			t.Fatal(err)
		}
	}
}

// runs fails unless the guest runs, or does not, and its memory is right. A stop
// whose client has gone may still be on its way to being undone.
func runs(t *testing.T, c Config, want bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		s, err := Ask(t.Context(), c.Control)
		if err == nil && s.Running == want {
			break
		}
		select {
		case <-time.After(time.Millisecond):
		case <-deadline:
			t.Fatalf("running %v, %v; want %v", s.Running, err, want)
		}
	}
	if v, err := Verify(t.Context(), c.Control); err != nil || v.Wrong > 0 || v.Errors > 0 {
		t.Errorf("memory %+v, %v", v, err)
	}
}

// TestFreezeAndThaw takes freezes back from every point.
func TestFreezeAndThaw(t *testing.T) {
	g, c := startVMM(t)
	for range 3 {
		if err := g.Prepare(t.Context()); err != nil {
			t.Fatal(err)
		}
		var state bytes.Buffer
		f, err := g.Freeze(t.Context(), &state)
		if err != nil || !f.WasRunning || f.StreamBytes != int64(state.Len()) {
			t.Fatalf("%+v, %v", f, err)
		}
		<-g.Stopped()
		<-g.Still()
		if _, err := parseState(state.Bytes(), c.Size); err != nil {
			t.Error(err)
		}
		for range 2 { // the second does nothing
			if err := g.Thaw(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		runs(t, c, true)
	}
}

// TestThawBehindACancelledFreeze loses the connection to the VMM on the way.
func TestThawBehindACancelledFreeze(t *testing.T) {
	g, c := startVMM(t)
	for i := range 30 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*20*time.Microsecond)
		_, err := g.Freeze(ctx, &bytes.Buffer{})
		cancel()
		if err == nil {
			<-g.Stopped()
			<-g.Still()
		}
		for len(g.stopped) > 0 {
			<-g.stopped
		}
		for len(g.still) > 0 {
			<-g.still
		}
		if err := g.Thaw(t.Context()); err != nil {
			t.Fatalf("freeze %d: %v", i, err)
		}
		runs(t, c, true)
	}
}

// blocked is a stream that takes nothing until it is closed.
type blocked chan struct{}

func (b blocked) Write(p []byte) (int, error) { <-b; return 0, net.ErrClosed }

// TestFreezeIsBounded has a destination that takes no device state.
func TestFreezeIsBounded(t *testing.T) {
	g, c := startVMM(t)
	stream := make(blocked)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := g.Freeze(ctx, stream); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("freeze: %v", err)
	}
	if err := g.Thaw(t.Context()); err != nil {
		t.Error(err)
	}
	runs(t, c, true)
	close(stream)
}

// TestHeld refuses everybody who would run a guest that is being moved.
func TestHeld(t *testing.T) {
	g, c := startVMM(t)
	if _, err := g.Freeze(t.Context(), &bytes.Buffer{}); err != nil {
		t.Fatal(err)
	}
	if err := g.process.Continue(); err != nil {
		t.Fatal(err)
	}
	if err := Resume(t.Context(), c.Control); !errors.Is(err, errRefused) {
		t.Errorf("a guest that is being moved was let run: %v", err)
	}
	runs(t, c, false)
	again, err := Reattach(t.Context(), g.ThawState())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(again.Thaw(t.Context()), again.Close()); err != nil {
		t.Fatal(err)
	}
	runs(t, c, true)
}

// TestThawPaused leaves a paused guest paused, and to whoever wants to run it.
func TestThawPaused(t *testing.T) {
	g, c := startVMM(t)
	if err := errors.Join(Pause(t.Context(), c.Control), g.Prepare(t.Context())); err != nil {
		t.Fatal(err)
	}
	f, err := g.Freeze(t.Context(), &bytes.Buffer{})
	if err != nil || f.WasRunning {
		t.Fatalf("%+v, %v", f, err)
	}
	if err := g.Thaw(t.Context()); err != nil {
		t.Fatal(err)
	}
	runs(t, c, false)
	if err := Resume(t.Context(), c.Control); err != nil {
		t.Error(err)
	}
	runs(t, c, true)
}

// TestGone tells that the VMM has ended, at each step.
func TestGone(t *testing.T) {
	g, c := startVMM(t)
	state := g.ThawState()
	if err := g.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Freeze(t.Context(), &bytes.Buffer{}); !errors.Is(err, vmm.ErrGone) {
		t.Errorf("freeze: %v", err)
	}
	for range 2 {
		if err := g.Thaw(t.Context()); err == nil {
			t.Error("a VMM that has ended was thawed")
		}
	}
	if _, err := Reattach(t.Context(), state); !errors.Is(err, vmm.ErrGone) {
		t.Errorf("attach again: %v", err)
	}
	if _, err := Attach(t.Context(), c.Control); err == nil {
		t.Error("attached to a VMM that has ended")
	}
}

// TestControlIsNotStolen refuses a second VMM at the socket of one that lives.
func TestControlIsNotStolen(t *testing.T) {
	_, c := startVMM(t)
	second := c
	second.RAM += "2"
	if err := Run(t.Context(), second); err == nil {
		t.Fatal("a second VMM took the control socket")
	}
	if _, err := os.Stat(second.RAM); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it has left its RAM: %v", err)
	}
	runs(t, c, true)
}

// TestManyClients keeps a VMM that is watched by clients that read nothing.
func TestManyClients(t *testing.T) {
	g, c := startVMM(t)
	for range maxClients / 2 {
		conn, err := net.Dial("unix", c.Control)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	for range 200 { // more events than anybody keeps
		if err := errors.Join(Pause(t.Context(), c.Control), Resume(t.Context(), c.Control)); err != nil {
			t.Fatal(err)
		}
	}
	runs(t, c, true)
	if _, err := g.Freeze(t.Context(), &bytes.Buffer{}); err != nil {
		t.Error(err)
	}
	if err := g.Thaw(t.Context()); err != nil {
		t.Error(err)
	}
}
