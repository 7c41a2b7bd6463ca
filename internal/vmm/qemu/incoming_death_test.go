package qemu

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lazymig/lazymig/internal/vmm"
	"github.com/lazymig/lazymig/internal/vmm/process"

	"github.com/lazymig/lazymig/internal/vmm/qmp"
	"golang.org/x/sys/unix"
)

// cancelWhen returns a context that ends when ok is true.
func cancelWhen(t *testing.T, ok func() bool) (context.Context, context.CancelFunc) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil && !ok() {
			<-tick.C
		}
		cancel()
	}()
	return ctx, func() { cancel(); <-ended }
}

// TestQEMUDies kills QEMU before each step: the step fails with a reason, and
// nothing is left.
func TestQEMUDies(t *testing.T) {
	steps := []string{"describe", "preflight", "arm", "load", "loading", "run", "running"}
	for _, step := range steps {
		t.Run(step, func(t *testing.T) {
			x := newIncomingTest(t)
			source := startSource(t, x.guestArgs("q35"), x.ram)
			x.start(t, x.guestArgs("q35"))
			err := dieBefore(t, x, source, step)
			receive(t, "Exited", x.Exited())
			if step != "running" && (err == nil || !strings.Contains(err.Error(), "QEMU has ended")) {
				t.Errorf("%s: %v", step, err)
			}
			if reason, powerOff := x.Shutdown(); powerOff || !strings.Contains(reason, "killed") {
				t.Errorf("Shutdown: %q, %v", reason, powerOff)
			}
		})
	}
}

// dieBefore goes through the steps, kills QEMU before one and returns the
// error of that one.
func dieBefore(t *testing.T, x *incomingTest, source *sourceTest, step string) error {
	t.Helper()
	at := func(name string) bool {
		if step != name {
			return false
		}
		if err := x.Kill(t.Context()); err != nil {
			t.Error(err)
		}
		return true
	}
	if at("describe") {
		_, err := x.Describe(t.Context())
		return err
	}
	description, err := x.Describe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if at("preflight") {
		_, err := x.Preflight(t.Context(), description)
		return err
	}
	if at("arm") {
		_, _, err := x.Arm(t.Context())
		return err
	}
	x.arm(t, source.paths)
	if at("load") {
		_, _, err := x.Load(t.Context())
		return err
	}
	stream, loaded, err := x.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if at("loading") {
		return receive(t, "the load", loaded)
	}
	source.save(t, stream)
	if err := stream.Close(); err != nil {
		t.Fatal(err)
	}
	if err := receive(t, "the load", loaded); err != nil {
		t.Fatal(err)
	}
	if at("run") {
		err := x.Run(t.Context())
		if !errors.Is(err, vmm.ErrMayHaveRun) {
			t.Errorf("Run: %v, want ErrMayHaveRun", err)
		}
		return err
	}
	if err := x.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	at("running")
	return nil
}

func TestBadDeviceState(t *testing.T) {
	x := newIncomingTest(t)
	source := startSource(t, x.guestArgs("q35"), x.ram)
	x.start(t, x.guestArgs("q35"))
	x.arm(t, source.paths)
	stream, loaded, err := x.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if _, err := stream.Write([]byte("this is no device state")); err != nil {
		t.Fatal(err)
	}
	if err := receive(t, "the load", loaded); err == nil {
		t.Error("garbage was loaded")
	} else if !strings.Contains(err.Error(), "Not a migration stream") {
		t.Errorf("%v: not QEMU's reason", err)
	}
}

// TestKillWhileAPageIsMissing kills a QEMU whose main loop hangs on a page
// that nobody serves.
func TestKillWhileAPageIsMissing(t *testing.T) {
	x := newIncomingTest(t)
	source := startSource(t, x.guestArgs("q35"), x.ram)
	x.start(t, x.guestArgs("q35"))
	handle, _, err := x.Arm(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer handle.Close()
	stream, loaded, err := x.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	source.save(t, stream) // loading it touches guest RAM, most often
	var wait sync.WaitGroup
	wait.Go(func() { // this does so for certain
		look := map[string]string{"command-line": "xp /1bx 0x7fff000"}
		_ = x.client.Execute(t.Context(), "human-monitor-command", look, nil) // QEMU is killed
	})
	poll := []unix.PollFd{{Fd: int32(handle.Fd()), Events: unix.POLLIN}}
	waitUntil(t, "a fault", func() bool {
		n, err := unix.Poll(poll, 0)
		return n > 0 && err == nil
	})
	had := x.events.hasLoaded()
	if err := x.Kill(t.Context()); err != nil {
		t.Error(err)
	}
	if err := receive(t, "the load", loaded); err == nil && !had {
		t.Error("a QEMU that was killed has loaded")
	}
	wait.Wait()
}

// TestRunIsBounded freezes QEMU: whether the guest runs is not known then.
func TestRunIsBounded(t *testing.T) {
	x := newIncomingTest(t)
	x.start(t, x.guestArgs("q35"))
	if err := unix.PidfdSendSignal(x.PIDFD(), unix.SIGSTOP, nil, 0); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := x.Run(ctx); !errors.Is(err, vmm.ErrMayHaveRun) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Run: %v", err)
	}
	if _, _, err := x.Arm(ctx); err == nil {
		t.Error("armed a QEMU that hangs")
	}
}

func TestPowerOffIsNoCrash(t *testing.T) {
	x := newIncomingTest(t)
	x.start(t, x.guestArgs("q35"))
	if err := x.client.Execute(t.Context(), "quit", nil, nil); err != nil {
		t.Fatal(err)
	}
	receive(t, "Exited", x.Exited())
	if reason, powerOff := x.Shutdown(); !powerOff || reason != "host-qmp-quit" {
		t.Errorf("Shutdown: %q, %v", reason, powerOff)
	}
}

// TestSomebodyRunsTheGuest sends "cont" on another monitor before the load.
func TestSomebodyRunsTheGuest(t *testing.T) {
	x := newIncomingTest(t)
	source := startSource(t, x.guestArgs("q35"), x.ram)
	x.start(t, x.guestArgs("q35"))
	x.arm(t, source.paths)
	if err := x.client.Execute(t.Context(), "cont", nil, nil); err != nil {
		t.Fatal(err)
	}
	stream, loaded, err := x.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	source.save(t, stream)
	if err := stream.Close(); err != nil {
		t.Fatal(err)
	}
	if err := receive(t, "the load", loaded); !errors.Is(err, vmm.ErrResumedBySomeone) {
		t.Errorf("the load: %v, want ErrResumedBySomeone", err)
	}
	receive(t, "Resumed", x.Resumed())
}

// TestDetachLeavesTheGuest closes everything; QEMU keeps its userfaultfd, and
// its migration settings are as they were.
func TestDetachLeavesTheGuest(t *testing.T) {
	x := newIncomingTest(t)
	source := startSource(t, x.guestArgs("q35"), x.ram)
	moveGuest(t, x, source, x.guestArgs("q35"))
	p, err := process.Watch(x.PID(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Release()
	path, files := x.QMPPath(), x.RAMFiles()
	launcher := x.launcher.Child
	if err := x.Detach(); err != nil {
		t.Fatal(err)
	}
	name, err := GuestName(t.Context(), path)
	if err != nil {
		t.Errorf("QEMU after Detach: %q, %v", name, err)
	}
	have := settingsOf(t, path)
	if have.capabilities["x-ignore-shared"] || have.capabilities["late-block-activate"] || *have.announceRounds == 0 {
		t.Errorf("settings after Detach: %+v", have)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	launcher.Wait()
	receive(t, "the end", p.Exited())
	for _, file := range files {
		unix.Unlink(file)
	}
}

func settingsOf(t *testing.T, path string) settings {
	t.Helper()
	client, err := qmp.Dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	have, err := readSettings(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	return have
}
