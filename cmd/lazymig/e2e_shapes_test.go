package main

import (
	"cmp"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lazymig/lazymig/bench"
	"github.com/lazymig/lazymig/bench/guest"
	"github.com/lazymig/lazymig/bench/vm"
	"github.com/lazymig/lazymig/internal/migrate"
	"github.com/lazymig/lazymig/internal/vmm/qmp"
)

// ask runs a command on the harness's own monitor of a VMM.
func (m *mover) ask(v *vm.VM, command string, result any) {
	m.t.Helper()
	c, err := qmp.Dial(m.ctx, v.MonitorPath())
	if err != nil {
		m.t.Fatal(err)
	}
	defer c.Close()
	if err := c.Execute(m.ctx, command, nil, result); err != nil {
		m.t.Fatal(err)
	}
}

// TestMoveMemoryBlocks moves a guest with two NUMA nodes and a DIMM, all of
// which it uses.
func TestMoveMemoryBlocks(t *testing.T) {
	m := newMover(t, bench.Config{VM: vm.Config{
		CPUs:  2,
		RAM:   []vm.Backend{{MiB: 256}, {MiB: 256}, {MiB: 256, DIMM: true}},
		Guest: guest.Params{MemoryMiB: 480, Rate: 20000},
	}})
	receive, send := m.receive(), m.send()
	sent, received := send.exits(0), receive.exits(0)
	m.moved()
	m.verify()
	m.describe(sent, received)
	if want := uint64(3 * 256 << 8); received.PagesTotal != want {
		t.Errorf("%d pages were served, not %d", received.PagesTotal, want)
	}
	files := 0
	for _, path := range m.pair.Source().RAMFiles() {
		made, _ := filepath.Glob(path + ".lazymig-*")
		for _, file := range made {
			var s unix.Stat_t
			if err := unix.Stat(file, &s); err != nil {
				t.Fatal(err)
			}
			if used := s.Blocks * 512 >> 20; used < 32 {
				t.Errorf("only %d MiB of %s arrived", used, file)
			}
			files++
		}
	}
	if files != 3 {
		t.Errorf("the guest has %d RAM files at the destination, not 3", files)
	}
}

// TestMovePaused moves a paused guest. It arrives paused, with all of its
// memory, and runs when somebody says so.
func TestMovePaused(t *testing.T) {
	m := newMover(t, smallGuest())
	m.ask(m.pair.Source(), "stop", nil)
	receive, send := m.receive(), m.send()
	sent := send.exits(0)
	receive.exits(0)
	m.moved()
	if sent.StoppedMS != 0 {
		t.Errorf("a guest that did not run was stopped for %v ms", sent.StoppedMS)
	}
	var state struct {
		Status  string
		Running bool
	}
	m.ask(m.pair.Source(), "query-status", &state)
	if state.Running || state.Status != "paused" {
		t.Errorf("the guest arrived as %+v", state)
	}
	m.ask(m.pair.Source(), "cont", nil)
	if _, err := m.pair.Source().Stream().Wait(m.ctx, 200); err != nil {
		t.Fatalf("the guest does not run: %v", err)
	}
	m.verify()
}

// TestPowerOffInDrain powers the guest off while most of its memory is still
// at the source.
func TestPowerOffInDrain(t *testing.T) {
	m := newMover(t, smallGuest())
	receive, send := m.receive(), m.send("--bandwidth", "2MiB")
	receive.reaches("OWNER")
	destination := m.destination()
	if _, err := destination.Stream().Wait(m.ctx, 100); err != nil {
		t.Fatal(err)
	}
	if err := destination.PowerOff(m.ctx); err != nil {
		t.Fatal(err)
	}
	send.exits(0)
	received := receive.exits(0)
	if received.Outcome != migrate.OutcomeDone || !strings.Contains(received.Reason, "guest-shutdown") {
		t.Errorf("receive reports %q: %s", received.Outcome, received.Reason)
	}
	known := received.PagesZero + received.PagesDemand + received.PagesBulk + received.PagesDiscarded
	if known >= received.PagesTotal {
		t.Errorf("all %d pages had arrived before the guest was off", received.PagesTotal)
	}
	t.Logf("%s; %d of %d pages were known", received.Reason, known, received.PagesTotal)
	former := m.pair.Source()
	m.moved()
	for _, path := range slices.Concat(former.RAMFiles(), m.pair.Source().RAMFiles()) {
		if left, _ := filepath.Glob(path + "*"); len(left) > 0 {
			t.Errorf("RAM files are left: %q", left)
		}
	}
}

// TestDryRun checks both hosts and moves nothing. The same receive takes the
// guest afterwards.
func TestDryRun(t *testing.T) {
	m := newMover(t, smallGuest())
	before := m.condition()
	ports := m.rehearsalPorts()
	receive := m.receiveWith(ports.args)
	for i := range 2 {
		rehearsal := m.send("--dry-run", "--json=false")
		rehearsal.exits(0)
		table := rehearsal.output()
		for _, text := range []string{"STATUS", "FIX", "source: ram ram0", "source: ram-users", "destination: ram-layout", "destination: tmpfs-space"} {
			if !strings.Contains(table, text) {
				t.Errorf("the table of checks has no %q:\n%s", text, table)
			}
		}
		if strings.Contains(table, "refused") {
			t.Errorf("a check refuses:\n%s", table)
		}
		for receive.count("nothing was moved") <= i {
			m.pause("receive does not tell of the dry run")
		}
		for len(vmms(m.destination())) > 0 {
			m.pause("a VMM is left at the destination")
		}
		if made, _ := filepath.Glob(m.destination().RAMFiles()[0] + "*"); len(made) > 0 {
			t.Errorf("left at the destination: %q", made)
		}
		if now := m.condition(); now.status != "running" || now.migration != before.migration {
			t.Errorf("the dry run left the VMM in %+v", now)
		}
	}
	if _, err := os.Stat(m.pair.Source().RAMFiles()[0]); err != nil {
		t.Error(err)
	}
	ports.connect("")
	send := m.send()
	sent, received := send.exits(0), receive.exits(0)
	m.moved()
	m.verify()
	m.describe(sent, received)
}

// rehearsalPorts are serial ports for VMMs of dry runs: the harness's own take
// one VMM. They are symbolic links, which lead to a socket of this test at
// first and to the harness's after connect("").
type rehearsalPorts struct {
	m    *mover
	args []string // the VMM's command line
	dir  string   // of the links
}

func (m *mover) rehearsalPorts() *rehearsalPorts {
	m.t.Helper()
	p := &rehearsalPorts{m: m, dir: m.t.TempDir(), args: m.destination().Args()}
	socket := filepath.Join(p.dir, "socket")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(greet(listener, ""))
	for _, name := range serialPorts {
		p.args = replaced(p.args, "path="+p.harness(name), "path="+filepath.Join(p.dir, name))
	}
	p.connect(socket)
	return p
}

var serialPorts = []string{"control", "beat"}

// harness returns the socket of the harness for a port.
func (p *rehearsalPorts) harness(name string) string {
	return filepath.Join(filepath.Dir(p.m.destination().QMPPath()), name)
}

// connect makes the links lead to a socket, or to the harness's.
func (p *rehearsalPorts) connect(socket string) {
	p.m.t.Helper()
	for _, name := range serialPorts {
		path, target := filepath.Join(p.dir, name), cmp.Or(socket, p.harness(name))
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			p.m.t.Fatal(err)
		}
		if err := os.Symlink(target, path); err != nil {
			p.m.t.Fatal(err)
		}
	}
}

// output returns what a command that ended printed for people.
func (s *side) output() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var text strings.Builder
	for _, e := range s.events {
		text.WriteString(e.Message + "\n")
	}
	return text.String()
}

// count returns how many messages with a text there were.
func (s *side) count(text string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, e := range s.events {
		if strings.Contains(e.Message, text) {
			n++
		}
	}
	return n
}
