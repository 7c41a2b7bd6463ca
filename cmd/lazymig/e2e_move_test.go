package main

import (
	"encoding/json"
	"fmt"
	"os"
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
	for i := range repeats(4, 50) {
		receive, send := m.receive(), m.send()
		send.exits(0)
		received := receive.exits(0)
		m.moved()
		t.Logf("%d pages on demand, %d ahead", received.PagesDemand, received.PagesAhead)
		if received.PagesAhead < 64 || len(received.FirstFaultsUS) == 0 {
			t.Errorf("move %d: %d pages went ahead, %d first faults", i+1, received.PagesAhead, len(received.FirstFaultsUS))
		}
		if _, err := m.pair.Source().Stream().Wait(m.ctx, 100); err != nil {
			t.Fatal(err)
		}
	}
	m.verify()
}

// TestLargeGuest moves a guest whose memory is larger than the host's, and
// mostly untouched, as quickly as a small one. The destination allocates what
// the source had allocated and what the guest touches.
func TestLargeGuest(t *testing.T) {
	const longer = 2.0 // times the blackout of the small guest
	var stopped []float64
	for _, mib := range []int{1 << 10, 64 << 10} {
		t.Run(fmt.Sprint(mib, " MiB"), func(t *testing.T) { stopped = append(stopped, moveSized(t, mib)) })
	}
	if len(stopped) != 2 {
		return
	}
	t.Logf("medians: 1 GiB stood still for %.1f ms, 64 GiB for %.1f ms", stopped[0], stopped[1])
	if stopped[1] > longer*stopped[0] {
		t.Errorf("64 GiB stood still for %.1f ms, over %.0f times the %.1f ms of 1 GiB", stopped[1], longer, stopped[0])
	}
}

// moveSized moves a guest of that size some times and returns the median of its
// blackouts in ms.
func moveSized(t *testing.T, mib int) float64 {
	t.Helper()
	config := smallGuest()
	config.VM.RAM = []vm.Backend{{MiB: mib}}
	m := newMover(t, config)
	m.binary = plainBinary(t)
	var stopped []float64
	for range repeats(3, 10) {
		before := allocated(t, m.ramFile(m.pair.Source()))
		receive, send := m.receive(), m.send()
		sent, received := send.exits(0), receive.exits(0)
		m.moved()
		m.describe(sent, received)
		stopped = append(stopped, stoodStill(sent))
		const touched = 64 << 20 // by a kernel that goes on for seconds
		after := allocated(t, m.ramFile(m.pair.Source()))
		t.Logf("%d MiB of RAM, allocated: %d MiB at the source, %d MiB at the destination", mib, before>>20, after>>20)
		if after > before+touched {
			t.Errorf("the destination has allocated %d MiB, the source had %d MiB", after>>20, before>>20)
		}
	}
	m.verify()
	return median(stopped)
}

// ramFile returns the only RAM file of a VMM, under the name that it has on
// this host or got when the guest arrived.
func (m *mover) ramFile(v *vm.VM) string {
	m.t.Helper()
	path := v.RAMFiles()[0]
	files, _ := filepath.Glob(path + ".lazymig-????????")
	if _, err := os.Stat(path); err == nil {
		files = append(files, path)
	}
	if len(files) != 1 {
		m.t.Fatalf("RAM files %q", files)
	}
	return files[0]
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
