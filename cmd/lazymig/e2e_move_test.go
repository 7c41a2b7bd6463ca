package main

import (
	"encoding/json"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/lazymig/lazymig/bench"
	"github.com/lazymig/lazymig/bench/link"
	"github.com/lazymig/lazymig/bench/vm"
	"github.com/lazymig/lazymig/internal/vmm/qmp"
)

// TestMove moves a guest that keeps changing 600 MiB, talks TCP and writes to
// its disk, and inflates its balloon while the memory follows.
func TestMove(t *testing.T) {
	for _, machine := range []string{"pc", "q35"} {
		t.Run(machine, func(t *testing.T) {
			m := newMover(t, bench.Config{VM: vm.Config{Machine: machine}, DiskMiB: 64})
			echo, err := m.pair.Link.DialEcho(m.ctx, link.GuestAddress)
			if err != nil {
				t.Fatal(err)
			}
			if err := m.pair.Link.SetRate(m.ctx, 1e9); err != nil {
				t.Fatal(err)
			}
			receive := m.receive()
			send := m.send()
			receive.reaches("OWNER")
			inflate(m, m.destination(), 900)
			sent, received := send.exits(0), receive.exits(0)
			m.moved()
			m.verify()
			m.describe(sent, received)
			if err := echo.Close(); err != nil {
				t.Errorf("the TCP connection did not survive: %v", err)
			}
			t.Logf("echo %+v; discarded %d pages", echo.Stats(), received.PagesDiscarded)
			if received.PagesDiscarded == 0 {
				t.Error("the balloon discarded no page during the drain")
			}
		})
	}
}

// inflate takes memory from the guest until it has only this many MiB.
func inflate(m *mover, v *vm.VM, mib int64) {
	m.t.Helper()
	c, err := qmp.Dial(m.ctx, v.MonitorPath())
	if err != nil {
		m.t.Fatal(err)
	}
	defer c.Close()
	events := c.Subscribe(256)
	defer events.Close()
	if err := c.Execute(m.ctx, "balloon", map[string]int64{"value": mib << 20}, nil); err != nil {
		m.t.Fatal(err)
	}
	for e := range events.Events() {
		var change struct{ Actual int64 }
		if e.Name == "BALLOON_CHANGE" && json.Unmarshal(e.Data, &change) == nil && change.Actual <= mib<<20 {
			return
		}
	}
	m.t.Fatalf("follow the balloon: %v", events.Err())
}

// TestBackAndForth moves a guest between the hosts again and again. Nothing
// adds up: the checks behind newMover look for what is left.
func TestBackAndForth(t *testing.T) {
	m := newMover(t, smallGuest())
	for range repeats(4, 50) {
		receive, send := m.receive(), m.send()
		send.exits(0)
		receive.exits(0)
		m.moved()
		if _, err := m.pair.Source().Stream().Wait(m.ctx, 100); err != nil {
			t.Fatal(err)
		}
	}
	m.verify()
}

// TestLargeGuest moves a guest whose memory is larger than the host's, and
// mostly untouched. The destination allocates what the source had allocated
// and what the guest touches.
func TestLargeGuest(t *testing.T) {
	config := smallGuest()
	config.VM.RAM = []vm.Backend{{MiB: 64 << 10}}
	m := newMover(t, config)
	m.binary = plainBinary(t)
	before := allocated(t, m.pair.Source().RAMFiles()[0])
	ram := m.destination().RAMFiles()[0]
	receive, send := m.receive(), m.send()
	sent, received := send.exits(0), receive.exits(0)
	m.moved()
	m.describe(sent, received)
	m.verify()
	files, _ := filepath.Glob(ram + ".lazymig-????????")
	if len(files) != 1 {
		t.Fatalf("RAM files %q", files)
	}
	const touched = 64 << 20 // by a kernel that goes on for seconds
	after := allocated(t, files[0])
	t.Logf("allocated: %d MiB at the source, %d MiB at the destination", before>>20, after>>20)
	if after > before+touched {
		t.Errorf("the destination has allocated %d MiB, the source had %d MiB", after>>20, before>>20)
	}
}

// allocated returns how many bytes of a file have storage.
func allocated(t *testing.T, path string) int64 {
	t.Helper()
	var status syscall.Stat_t
	if err := syscall.Stat(path, &status); err != nil {
		t.Fatal(err)
	}
	return status.Blocks * 512
}
