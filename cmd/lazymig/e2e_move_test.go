package main

import (
	"encoding/json"
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
