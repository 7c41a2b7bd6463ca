package qemu

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lazymig/lazymig/internal/vmm"
	"github.com/lazymig/lazymig/internal/vmm/process"

	"golang.org/x/sys/unix"

	"github.com/lazymig/lazymig/internal/vmm/qmp"
)

// prepared returns a VMM with lazymig attached and prepared, and its settings
// from before.
func prepared(t *testing.T, args ...string) (*testVMM, *Guest, string) {
	t.Helper()
	v := startVMM(t, args...)
	before := v.settings()
	g := v.attach()
	if err := g.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	return v, g, before
}

func freeze(t *testing.T, g *Guest, stream io.Writer) vmm.Frozen {
	t.Helper()
	frozen, err := g.Freeze(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	return frozen
}

// wantThawed takes the guest back twice and asserts that all is as before.
func wantThawed(t *testing.T, v *testVMM, g *Guest, before string, states ...string) {
	t.Helper()
	for range 2 {
		if err := g.Thaw(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s := v.status(); !slices.Contains(states, s) {
			t.Errorf("the guest is %s after Thaw, want one of %v", s, states)
		}
		if after := v.settings(); after != before {
			t.Errorf("settings after Thaw\n%s\nbefore\n%s", after, before)
		}
	}
}

// waitEvent waits for an event of the other monitor.
func waitEvent(t *testing.T, s *qmp.Subscription, name string) qmp.Event {
	t.Helper()
	timeout := time.After(30 * time.Second)
	for {
		select {
		case e, ok := <-s.Events():
			if !ok {
				t.Fatalf("wait for %s: %v", name, s.Err())
			}
			if e.Name == name {
				return e
			}
		case <-timeout:
			t.Fatalf("no event %s in 30 s", name)
		}
	}
}

func TestFreezeAndThaw(t *testing.T) {
	t.Parallel()
	for _, machine := range []string{"pc", "q35"} {
		t.Run(machine, func(t *testing.T) {
			t.Parallel()
			v, g, before := prepared(t, plainGuest(t, machine)...)
			events := v.other.Subscribe(100)
			defer events.Close()
			var stream bytes.Buffer
			began := time.Now()
			frozen := freeze(t, g, &stream)
			stop := waitEvent(t, events, "STOP")
			if !frozen.Stopped.Equal(stop.Timestamp) || frozen.StoppedReceived.Before(began) || !frozen.WasRunning {
				t.Errorf("frozen %+v, QEMU stopped it at %v", frozen, stop.Timestamp)
			}
			if frozen.StreamBytes != int64(stream.Len()) || stream.Len() < 50<<10 || stream.Len() > 8<<20 {
				t.Errorf("%d bytes of device state, reported %d", stream.Len(), frozen.StreamBytes)
			}
			t.Logf("%d KiB, %v from STOP to the sealed end", stream.Len()>>10, time.Since(frozen.StoppedReceived))
			if stopped, err := process.IsStopped(g.PID()); err != nil || !stopped {
				t.Errorf("process stopped: %v, %v", stopped, err)
			}
			wantThawed(t, v, g, before, "running")
			// And all of it once more.
			if err := g.Prepare(t.Context()); err != nil {
				t.Fatal(err)
			}
			freeze(t, g, io.Discard)
			wantThawed(t, v, g, before, "running")
		})
	}
}

func TestFreezePausedGuest(t *testing.T) {
	t.Parallel()
	for name, pause := range map[string]func(v *testVMM){
		"stopped":   func(v *testVMM) { v.do("cont", nil); v.do("stop", nil) },
		"never run": func(*testVMM) {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := startVMM(t, append(plainGuest(t, "pc"), "-S")...)
			pause(v)
			before, g := v.settings(), v.attach()
			if err := g.Prepare(t.Context()); err != nil {
				t.Fatal(err)
			}
			frozen := freeze(t, g, io.Discard)
			if frozen.WasRunning || !frozen.Stopped.IsZero() || !frozen.StoppedReceived.IsZero() || g.ThawState().WasRunning {
				t.Errorf("frozen %+v of a paused guest", frozen)
			}
			wantThawed(t, v, g, before, "postmigrate")
		})
	}
}

// TestFreezeStreamLoads feeds the device state and a copy of the RAM file to a
// plain QEMU.
func TestFreezeStreamLoads(t *testing.T) {
	t.Parallel()
	args := plainGuest(t, "q35")
	_, g, _ := prepared(t, args...)
	var stream bytes.Buffer
	freeze(t, g, &stream)
	memory, err := os.ReadFile(pathIn(args))
	if err != nil {
		t.Fatal(err)
	}
	copied := plainGuest(t, "q35")
	if err := os.WriteFile(pathIn(copied), memory, 0o600); err != nil {
		t.Fatal(err)
	}
	d := startVMM(t, append(copied, "-incoming", "defer", "-S")...)
	d.do("migrate-set-capabilities", map[string]any{"capabilities": []capability{{"x-ignore-shared", true}, {"events", true}}})
	events := d.other.Subscribe(100)
	defer events.Close()
	ours, theirs, err := streamPair()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	err = d.other.ExecuteFD(t.Context(), "getfd", map[string]string{"fdname": "in"}, theirs)
	if err := errors.Join(err, unix.Close(theirs)); err != nil {
		t.Fatal(err)
	}
	d.do("migrate-incoming", map[string]string{"uri": "fd:in"})
	if _, err := ours.Write(stream.Bytes()); err != nil {
		t.Fatal(err)
	}
	for {
		e := waitEvent(t, events, "MIGRATION")
		if strings.Contains(string(e.Data), "failed") {
			t.Fatalf("load failed: %s", process.LogTail(d.log))
		}
		if strings.Contains(string(e.Data), "completed") {
			break
		}
	}
	d.do("cont", nil)
	if err := g.Kill(t.Context()); err != nil {
		t.Error(err)
	}
	eventually(t, "the guest to run", func() bool { return d.status() == "running" })
}

func TestThawFromEveryPoint(t *testing.T) {
	t.Parallel()
	t.Run("prepared", func(t *testing.T) {
		t.Parallel()
		v, g, before := prepared(t, plainGuest(t, "pc")...)
		if v.settings() == before {
			t.Error("Prepare changed nothing")
		}
		if err := g.Prepare(t.Context()); err == nil {
			t.Error("prepared twice")
		}
		wantThawed(t, v, g, before, "running")
	})
	t.Run("not prepared", func(t *testing.T) {
		t.Parallel()
		v := startVMM(t, plainGuest(t, "pc")...)
		g := v.attach()
		if _, err := g.Freeze(t.Context(), io.Discard); err == nil {
			t.Error("frozen without Prepare")
		}
		wantThawed(t, v, g, v.settings(), "running")
	})
	t.Run("own settings", func(t *testing.T) {
		t.Parallel()
		v := startVMM(t, plainGuest(t, "pc")...)
		v.do("migrate-set-capabilities", map[string]any{"capabilities": []capability{{"multifd", true}, {"x-ignore-shared", true}, {"auto-converge", true}}})
		v.do("migrate-set-parameters", map[string]any{"tls-creds": "nobody"})
		before, g := v.settings(), v.attach()
		if err := g.Prepare(t.Context()); err != nil {
			t.Fatal(err)
		}
		freeze(t, g, io.Discard)
		wantThawed(t, v, g, before, "running")
	})
	t.Run("pre-switchover", func(t *testing.T) {
		t.Parallel()
		v, g, before := prepared(t, plainGuest(t, "pc")...)
		holdInPreSwitchover(t, v, g)
		wantThawed(t, v, g, before, "running")
	})
	t.Run("paused in pre-switchover", func(t *testing.T) {
		t.Parallel()
		v, g, before := prepared(t, append(plainGuest(t, "pc"), "-S")...)
		holdInPreSwitchover(t, v, g)
		wantThawed(t, v, g, before, "postmigrate", "paused", "prelaunch")
	})
}

// holdInPreSwitchover leaves the guest as a lazymig does that died between
// the events: the migration waits for its continuation.
func holdInPreSwitchover(t *testing.T, v *testVMM, g *Guest) {
	t.Helper()
	relay, theirs, err := newRelay(io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	c := &capture{guest: g, relay: relay}
	if err := errors.Join(c.migrate(t.Context(), theirs), unix.Close(theirs)); err != nil {
		t.Fatal(err)
	}
	g.relays.Go(relay.serve)
	eventually(t, "pre-switchover", func() bool {
		info, err := queries{v.other}.migration(t.Context())
		return err == nil && info.Status == "pre-switchover"
	})
}

// failingStream fails after some bytes.
type failingStream struct{ left int }

var errLink = errors.New("the link is down")

func (f *failingStream) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, errLink
	}
	return len(p), nil
}

func TestFreezeBrokenRelay(t *testing.T) {
	t.Parallel()
	for name, left := range map[string]int{"at once": 0, "in the middle": 60 << 10} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v, g, before := prepared(t, plainGuest(t, "pc")...)
			_, err := g.Freeze(t.Context(), &failingStream{left})
			if !errors.Is(err, errLink) {
				t.Errorf("error %v, want the stream's", err)
			}
			wantThawed(t, v, g, before, "running")
		})
	}
}

// TestThawInTheWindow cancels again and again about when the guest stops,
// where QEMU can lose a cancel.
func TestThawInTheWindow(t *testing.T) {
	t.Parallel()
	v, g, before := prepared(t, plainGuest(t, "pc")...)
	for range 15 {
		if _, err := g.Freeze(t.Context(), &failingStream{60 << 10}); !errors.Is(err, errLink) {
			t.Fatalf("error %v, want the stream's", err)
		}
		wantThawed(t, v, g, before, "running")
		if err := g.Prepare(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// blockedStream takes bytes and blocks then until it is closed.
type blockedStream struct {
	left   int
	closed chan struct{}
}

func (b *blockedStream) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		<-b.closed
		return 0, errLink
	}
	return len(p), nil
}

func TestFreezeEndsWithItsContext(t *testing.T) {
	t.Parallel()
	v, g, before := prepared(t, plainGuest(t, "pc")...)
	stream := &blockedStream{60 << 10, make(chan struct{})}
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := g.Freeze(ctx, stream); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 10*time.Second {
		t.Errorf("error %v after %v", err, time.Since(began))
	}
	wantThawed(t, v, g, before, "running")
	close(stream.closed)
}

// meddling runs a function at a point of the stream.
type meddling struct {
	at     int
	meddle func()
	seen   int
}

func (m *meddling) Write(p []byte) (int, error) {
	before := m.seen
	m.seen += len(p)
	if before < m.at && m.seen >= m.at {
		m.meddle()
	}
	return len(p), nil
}

func TestFreezeIsCancelledBySomeone(t *testing.T) {
	t.Parallel()
	v, g, before := prepared(t, plainGuest(t, "pc")...)
	_, err := g.Freeze(t.Context(), &meddling{at: 1, meddle: func() { v.do("migrate_cancel", nil) }})
	if err == nil || !strings.Contains(err.Error(), "cancel") {
		t.Errorf("error %v", err)
	}
	wantThawed(t, v, g, before, "running")
}

func TestFreezeNoticesChangedState(t *testing.T) {
	t.Parallel()
	v, g, before := prepared(t, plainGuest(t, "pc")...)
	v.do("stop", nil)
	if _, err := g.Freeze(t.Context(), io.Discard); !errors.Is(err, ErrStateChanged) {
		t.Errorf("error %v, want ErrStateChanged", err)
	}
	wantThawed(t, v, g, before, "paused")
}

// TestFreezeResumedBySomeone has somebody send "cont" between postmigrate and
// SIGSTOP.
func TestFreezeResumedBySomeone(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{"running": nil, "paused": {"-S"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v, g, before := prepared(t, append(plainGuest(t, "pc"), args...)...)
			c := &capture{guest: g, events: g.monitor.Subscribe(captureEvents)}
			defer c.events.Close()
			if err := c.begin(t.Context(), io.Discard); err != nil {
				t.Fatal(err)
			}
			if err := c.follow(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := c.confirm(t.Context()); err != nil {
				t.Fatal(err)
			}
			v.do("cont", nil)
			v.do("stop", nil) // it looks innocent again
			if err := c.seal(t.Context()); !errors.Is(err, vmm.ErrResumedBySomeone) {
				t.Errorf("error %v, want ErrResumedBySomeone", err)
			}
			v.do("cont", nil)
			wantThawed(t, v, g, before, "running")
		})
	}
}

func TestFreezeSurvivesTheVMMsEnd(t *testing.T) {
	t.Parallel()
	v, g, _ := prepared(t, plainGuest(t, "pc")...)
	_, err := g.Freeze(t.Context(), &meddling{at: 1, meddle: func() {
		_ = v.cmd.Process.Kill()
		<-g.Exited()
	}})
	if !errors.Is(err, vmm.ErrGone) {
		t.Errorf("freeze: error %v, want ErrVMMGone", err)
	}
	if err := g.Thaw(t.Context()); !errors.Is(err, vmm.ErrGone) {
		t.Errorf("thaw: error %v, want ErrVMMGone", err)
	}
	if err := g.Kill(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestKillFrozenGuest(t *testing.T) {
	t.Parallel()
	v, g, _ := prepared(t, plainGuest(t, "q35")...)
	memory, err := g.Memory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer memory.Close()
	freeze(t, g, io.Discard)
	allocated := memory.Allocated()
	if allocated == 0 {
		t.Error("nothing is allocated")
	}
	path := memory.names[0].path
	if err := memory.Unlink(); err == nil || !strings.Contains(err.Error(), "qemu-system") {
		t.Errorf("unlinked under a living VMM: %v", err)
	}
	for range 2 {
		if err := g.Kill(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	<-v.exited
	if got := memory.Allocated(); got != allocated {
		t.Errorf("%d bytes allocated after the end of the VMM, %d before", got, allocated)
	}
	for range 2 { // the second finds no name
		if err := memory.Unlink(); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the RAM file is still there: %v", err)
	}
	if p, offset, ok := firstData(memory); !ok || len(p) == 0 {
		t.Errorf("no data at %d after the unlink", offset)
	}
}

func firstData(m *FileMemory) ([]byte, uint64, bool) {
	for offset := range m.Extents(0) {
		p := make([]byte, 4096)
		_, err := m.ReadAt(p, 0, offset)
		return p, offset, err == nil
	}
	return nil, 0, false
}

func TestRelayBoundsTheStream(t *testing.T) {
	t.Parallel()
	r := &relay{stream: io.Discard}
	r.bytes.Store(maxStream - 1)
	if err := r.pass([]byte{0}); err != nil {
		t.Error(err)
	}
	if err := r.pass([]byte{0}); !errors.Is(err, ErrStreamTooLong) {
		t.Errorf("error %v, want ErrStreamTooLong", err)
	}
}

// TestReattach takes a frozen guest back from what another process knows.
func TestReattach(t *testing.T) {
	t.Parallel()
	v, g, before := prepared(t, plainGuest(t, "pc")...)
	freeze(t, g, io.Discard)
	text, err := json.Marshal(g.ThawState())
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Close(); err != nil { // the first process dies
		t.Fatal(err)
	}
	var state ThawState
	if err := json.Unmarshal(text, &state); err != nil {
		t.Fatal(err)
	}
	keeper, err := Reattach(t.Context(), state)
	if err != nil {
		t.Fatal(err)
	}
	defer keeper.Close()
	if s := v.status(); s != "postmigrate" {
		t.Errorf("the guest is %s after Reattach", s)
	}
	wantThawed(t, v, keeper, before, "running")

	state.Started++
	if _, err := Reattach(t.Context(), state); !errors.Is(err, vmm.ErrGone) {
		t.Errorf("attached to another process: %v", err)
	}
}

// TestReattachInPreSwitchover: the first process died in pre-switchover, so
// QEMU's stream breaks and it lets the guest run by itself.
func TestReattachInPreSwitchover(t *testing.T) {
	t.Parallel()
	v, g, before := prepared(t, plainGuest(t, "pc")...)
	holdInPreSwitchover(t, v, g)
	if err := g.monitor.Close(); err != nil {
		t.Fatal(err)
	}
	keeper, err := Reattach(t.Context(), g.ThawState())
	if err != nil {
		t.Fatal(err)
	}
	defer keeper.Close()
	wantThawed(t, v, keeper, before, "running")
}

// TestThawReconnects: the connection broke, the guest is frozen.
func TestThawReconnects(t *testing.T) {
	t.Parallel()
	v, g, before := prepared(t, plainGuest(t, "pc")...)
	freeze(t, g, io.Discard)
	if err := g.monitor.Close(); err != nil {
		t.Fatal(err)
	}
	wantThawed(t, v, g, before, "running")
}

func TestFreezeUnprivilegedSandboxed(t *testing.T) {
	t.Parallel()
	needRoot(t)
	args := append(plainGuest(t, "pc"), "-runas", "nobody", "-sandbox", "on,obsolete=deny,elevateprivileges=allow,spawn=deny,resourcecontrol=deny")
	v, g, before := prepared(t, args...)
	if uid, err := statusField(g.PID(), "Uid"); err != nil || uid == 0 {
		t.Fatalf("QEMU runs as user %d, %v", uid, err)
	}
	freeze(t, g, io.Discard)
	wantThawed(t, v, g, before, "running")
}
