package main

import (
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lazymig/lazymig/bench"
	"github.com/lazymig/lazymig/bench/link"
	"github.com/lazymig/lazymig/bench/vm"
	"github.com/lazymig/lazymig/internal/vmm/qmp"
	"github.com/lazymig/lazymig/quictransport"
)

// condition is what a migration changes at a VMM and must put back.
type condition struct {
	status       string
	migration    string
	capabilities map[string]bool
}

// condition asks the harness's own monitor of the source.
func (m *mover) condition() condition {
	m.t.Helper()
	c, err := qmp.Dial(m.ctx, m.pair.Source().MonitorPath())
	if err != nil {
		m.t.Fatal(err)
	}
	defer c.Close()
	var state, migration struct{ Status string }
	var list []struct {
		Capability string
		State      bool
	}
	for command, result := range map[string]any{
		"query-status": &state, "query-migrate": &migration, "query-migrate-capabilities": &list,
	} {
		if err := c.Execute(m.ctx, command, nil, result); err != nil {
			m.t.Fatal(err)
		}
	}
	now := condition{status: state.Status, migration: migration.Status, capabilities: map[string]bool{}}
	for _, e := range list {
		now.capabilities[e.Capability] = e.State
	}
	return now
}

// untouched checks that the guest's VMM is as it was before, that its RAM files
// are there, and that nothing was left for it at the destination.
func (m *mover) untouched(before condition) {
	m.t.Helper()
	m.settles()
	for len(vmms(m.destination())) > 0 {
		m.pause("a VMM is left at the destination")
	}
	if now := m.condition(); now.status != before.status || !maps.Equal(now.capabilities, before.capabilities) ||
		!slices.Contains([]string{before.migration, "cancelled", "completed", "failed"}, now.migration) {
		m.t.Errorf("the source's VMM was %+v and is %+v", before, now)
	}
	for _, v := range []*vm.VM{m.pair.Source(), m.destination()} {
		for _, path := range v.RAMFiles() {
			if _, err := os.Stat(path); v == m.pair.Source() && err != nil {
				m.t.Errorf("the guest has lost its RAM file: %v", err)
			}
			if left, _ := filepath.Glob(path + ".lazymig-*"); len(left) > 0 {
				m.t.Errorf("left at the destination: %q", left)
			}
		}
	}
	if err := m.pair.Dropped(); err != nil {
		m.t.Error(err)
	}
	if before.status == "running" {
		if _, err := m.pair.Source().Stream().Wait(m.ctx, 100); err != nil {
			m.t.Fatalf("the guest does not run at the source: %v", err)
		}
	}
}

// interrupt ends a receive that goes on waiting.
func (s *side) interrupt() {
	s.m.t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGINT); err != nil {
		s.m.t.Errorf("%s has ended: %v\n%s", s.name, err, s.stderr.String())
	}
	s.exits(1)
}

// replaced returns a command line with another text in its arguments.
func replaced(args []string, from, to string) []string {
	args = slices.Clone(args)
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], from, to)
	}
	return args
}

// cases runs subtests with one guest and checks after each that it was not
// touched, and at the end that all of its memory is as it should be.
func (m *mover) cases(t *testing.T, list map[string]func(*mover)) {
	before := m.condition()
	for _, name := range slices.Sorted(maps.Keys(list)) {
		t.Run(name, func(t *testing.T) {
			inner := m.in(t)
			list[name](inner)
			inner.untouched(before)
		})
	}
	m.verify()
}

// TestRefusedDestination has the destination start something else than the
// guest. Both sides say why, and what to do.
func TestRefusedDestination(t *testing.T) {
	m := newMover(t, smallGuest())
	// refused moves the guest to a command line that cannot take it.
	refused := func(change func(args []string) []string, texts ...string) func(*mover) {
		return func(m *mover) {
			receive := m.receiveWith(change(m.destination().Args()))
			send := m.send()
			send.exits(1)
			send.says(texts...)
			receive.exits(1)
			receive.says(texts...)
		}
	}
	m.cases(t, map[string]func(*mover){
		"RAM size": refused(func(args []string) []string { return replaced(args, "384M", "448M") },
			"ram-layout", "402653184 bytes", "469762048 bytes", "hint: give the destination's QEMU the same memory backends"),
		"machine": refused(func(args []string) []string { return replaced(args, "q35,", "pc,") },
			"machine", "pc-q35-", "pc-i440fx-", "hint: give the destination's QEMU -machine"),
		"CPU": refused(func(args []string) []string { return append(args, "-cpu", "Westmere") },
			"cpu-model", "qemu64-x86_64-cpu", "Westmere-x86_64-cpu", "hint: give the destination's QEMU the same -cpu"),
		"CPU count": refused(func(args []string) []string { return append(args, "-smp", "2") },
			"cpu-count", "hint: give the destination's QEMU the same -smp"),
		"a device that QEMU lacks": refused(func(args []string) []string { return append(args, "-device", "nonsense") },
			"it said: qemu-system-x86_64: -device nonsense", "not a valid device model name", "hint: QEMU's log at the destination, "),
		"too little space": func(m *mover) {
			small := m.t.TempDir()
			if err := unix.Mount("tmpfs", small, "tmpfs", 0, "size=16m"); err != nil {
				m.t.Fatal(err)
			}
			m.t.Cleanup(func() {
				if err := unix.Unmount(small, 0); err != nil {
					m.t.Errorf("unmount the small tmpfs: %v", err)
				}
			})
			refused(func(args []string) []string { return replaced(args, "mem-path=/dev/shm", "mem-path="+small) },
				"tmpfs-space", "MiB and 16 MiB are free in "+small, "hint: enlarge it (mount -o remount,size=SIZE")(m)
			if left, _ := os.ReadDir(small); len(left) > 0 {
				m.t.Errorf("left on the small tmpfs: %v", left)
			}
		},
		"no QEMU": func(m *mover) {
			receive := m.receiveWith(append([]string{"/nonexistent/qemu"}, m.destination().Args()[1:]...))
			receive.exits(2)
			receive.says("/nonexistent/qemu", "hint: install QEMU")
		},
		"private RAM": func(m *mover) {
			receive := m.receiveWith(replaced(m.destination().Args(), "share=on,mem-path", "share=off,mem-path"))
			receive.exits(2)
			receive.says("without share=on its memory is private", "add share=on")
		},
	})
}

// TestRefusedPeer has each side meet somebody that it must not talk to, or
// nobody.
func TestRefusedPeer(t *testing.T) {
	m := newMover(t, smallGuest())
	m.cases(t, map[string]func(*mover){
		"wrong CA": func(m *mover) {
			stranger := m.identity("stranger", time.Hour)
			receive := m.receive("--tls-dir", stranger)
			send := m.send()
			send.exits(1)
			send.says("not issued by this side's CA", "hint: use the same ca.crt on both hosts")
			receive.interrupt()
		},
		"own certificate expired": func(m *mover) {
			send := m.send("--tls-dir", m.identity("late", time.Nanosecond))
			send.exits(2)
			send.says("has expired at", "hint: issue a new one with `lazymig cert issue`")
		},
		"closed port": func(m *mover) {
			send := m.send()
			send.exits(1)
			send.says("connection refused", "hint: start `lazymig receive` there first")
		},
		"other destination than --peer": func(m *mover) {
			receive := m.receive()
			send := m.send("--peer", "host-x")
			send.exits(1)
			send.says("host-x", "host-b", "hint: ")
			receive.interrupt()
		},
		"other source than --peer": func(m *mover) {
			receive := m.receive("--peer", "host-x")
			send := m.send()
			send.exits(1)
			send.says("does not accept this side's certificate", "--peer", "hint: ")
			receive.interrupt()
		},
		"other VM": func(m *mover) {
			receive := m.receive()
			send := m.send("--vm", "another")
			send.exits(1)
			send.says("waits for VM", "another", "hint: give both sides the same --vm NAME")
			receive.interrupt()
		},
	})
	t.Run("the destination's certificate expired", func(t *testing.T) { m.in(t).expire() })
	m.verify()
}

// identity makes a CA and one certificate of it and returns their directory.
func (m *mover) identity(name string, validity time.Duration) string {
	m.t.Helper()
	dir := filepath.Join(m.t.TempDir(), "tls")
	if err := quictransport.CreateCA(dir); err != nil {
		m.t.Fatal(err)
	}
	if err := quictransport.Issue(dir, name, validity); err != nil {
		m.t.Fatal(err)
	}
	return dir
}

// expire lets the destination's certificate expire while it waits.
func (m *mover) expire() {
	before := m.condition()
	const validity = 8 * time.Second // time enough to start a receive
	dir := m.identity("host-b", validity)
	if err := quictransport.Issue(dir, "host-a", time.Hour); err != nil {
		m.t.Fatal(err)
	}
	issued := time.Now()
	sides := map[string]string{"host-a": m.t.TempDir(), "host-b": m.t.TempDir()}
	for name, to := range sides {
		for _, file := range []string{"ca.crt", "domain.key", name + ".crt", name + ".key"} {
			text, err := os.ReadFile(filepath.Join(dir, file))
			if err != nil {
				m.t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(to, file), text, 0o600); err != nil {
				m.t.Fatal(err)
			}
		}
	}
	receive := m.receive("--tls-dir", sides["host-b"])
	for time.Since(issued) < validity {
		m.pause("the certificate does not expire")
	}
	send := m.send("--tls-dir", sides["host-a"])
	send.exits(1)
	send.says("the other side's certificate has expired at", "hint: issue a new one with `lazymig cert issue`")
	receive.interrupt()
	m.untouched(before)
}

// TestRefusedSource names something else than the guest's monitor, or a guest
// whose RAM others use.
func TestRefusedSource(t *testing.T) {
	m := newMover(t, smallGuest())
	m.cases(t, map[string]func(*mover){
		"no such socket": func(m *mover) {
			send := m.send("--qmp", m.pair.Source().QMPPath()+"x")
			send.exits(2)
			send.says("no such file or directory", "hint: give the PATH of QEMU's -qmp")
		},
		"not a socket": func(m *mover) {
			send := m.send("--qmp", m.pair.Source().LogPath())
			send.exits(2)
			send.says("is not a socket", "hint: give the PATH of QEMU's -qmp")
		},
		"not a monitor": func(m *mover) {
			path := filepath.Join(m.t.TempDir(), "socket")
			listener, err := net.Listen("unix", path)
			if err != nil {
				m.t.Fatal(err)
			}
			defer greet(listener, "hello")()
			send := m.send("--qmp", path)
			send.exits(1)
			send.says("not a QMP monitor: it says \"hello")
		},
		"monitor in use": func(m *mover) {
			c, err := qmp.Dial(m.ctx, m.pair.Source().QMPPath())
			if err != nil {
				m.t.Fatal(err)
			}
			defer c.Close()
			send := m.send()
			send.exits(1)
			send.says("another client holds this monitor", "give lazymig a monitor of its own")
		},
		"shared RAM": func(m *mover) {
			other := m.mapRAM(m.pair.Source().RAMFiles()[0])
			for _, option := range []string{"--dry-run", "--dry-run=false"} {
				send := m.send(option)
				send.exits(1)
				send.says("ram-users", other, "hint: end these processes")
			}
		},
	})
}

// mapRAM starts a process that maps a RAM file and returns its name in checks.
func (m *mover) mapRAM(path string) string {
	m.t.Helper()
	cmd := exec.CommandContext(m.ctx, "qemu-system-x86_64", "-machine", "none", "-nodefaults", "-display", "none", "-S",
		"-object", "memory-backend-file,id=ram0,size=384M,share=on,mem-path="+path)
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		_ = cmd.Process.Kill() // it has not ended by itself
		_ = cmd.Wait()         // it was killed
	})
	pid := "/proc/" + strconv.Itoa(cmd.Process.Pid)
	for {
		maps, err := os.ReadFile(pid + "/maps")
		if err != nil {
			m.t.Fatal(err)
		}
		if strings.Contains(string(maps), path) {
			return strings.Replace(pid, "/proc/", "process ", 1)
		}
		m.pause("the other process does not map the RAM file")
	}
}

// TestSameHost moves a guest from its host to the same one.
func TestSameHost(t *testing.T) {
	m := newMover(t, smallGuest())
	before := m.condition()
	ram := m.pair.Source().RAMFiles()[0]
	state := t.TempDir() // of the destination, which is another user of lazymig
	t.Run("the same command line", func(t *testing.T) {
		m := m.in(t)
		receive := m.receiveHere(m.pair.Source().Args(), state)
		receive.exits(2)
		receive.says("another process listens on "+m.pair.Source().QMPPath(), "use another path at the destination")
		m.untouched(before)
		m.verify()
	})
	// A second tap stands for the network device of another guest.
	for _, line := range []string{"tuntap add tap1 mode tap", "link set tap1 master br0 up"} {
		if out, err := m.pair.Link.Command(m.ctx, link.HostA, "ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			t.Fatalf("add a tap: %v: %s", err, out)
		}
	}
	beside := func(m *mover) []string {
		args := replaced(m.destination().Args(), m.destination().RAMFiles()[0], ram)
		return replaced(args, "ifname="+link.Tap, "ifname=tap1")
	}
	t.Run("the same state directory", func(t *testing.T) {
		m := m.in(t)
		receive := m.receiveHere(beside(m), m.state[link.HostA])
		send := m.sendHere()
		send.exits(2)
		send.says("another engine is at work in "+m.state[link.HostA], "two sides on one host need a --state-dir each")
		receive.interrupt()
		m.untouched(before)
	})
	t.Run("the same mem-path, refused", func(t *testing.T) {
		m := m.in(t)
		receive := m.receiveHere(append(beside(m), "-cpu", "Westmere"), state)
		send := m.sendHere()
		send.exits(1)
		send.says("cpu-model")
		receive.exits(1)
		m.untouched(before)
		m.verify()
	})
	t.Run("the same mem-path", func(t *testing.T) {
		receive := m.in(t).receiveHere(beside(m), state)
		send := m.in(t).sendHere()
		sent, received := send.exits(0), receive.exits(0)
		m.rams = append(m.rams, ram)
		m.moved()
		m.verify()
		m.describe(sent, received)
	})
}

// receiveHere waits for a guest on the host where it runs.
func (m *mover) receiveHere(vmm []string, state string) *side {
	m.t.Helper()
	args := []string{
		"receive", "--json", "--listen", link.HostA.Address() + ":" + port,
		"--state-dir", state, "--tls-dir", m.tls[link.HostB], "--",
	}
	s := m.start(link.HostA, append(args, vmm...)...)
	s.listens()
	return s
}

// sendHere sends the guest to the host where it runs.
func (m *mover) sendHere() *side {
	m.t.Helper()
	return m.send("--to", link.HostA.Address()+":"+port)
}

// TestRefusedMemory starts guests whose RAM cannot be moved. They do not run:
// refusing them needs no boot.
func TestRefusedMemory(t *testing.T) {
	for name, x := range map[string]struct {
		config vm.Config
		texts  []string
	}{
		"private": {
			vm.Config{RAM: []vm.Backend{{MiB: 128, Sharing: vm.PrivateFile}}},
			[]string{"ram ram0", "backend ram0 (memory-backend-file) is private memory of QEMU (share=off)", "share=on"},
		},
		"memfd": {
			vm.Config{RAM: []vm.Backend{{MiB: 128, Sharing: vm.Memfd}}},
			[]string{"ram ram0", "backend ram0 is a memfd", "mem-path=/dev/shm/NAME,share=on"},
		},
		"one of two": {
			vm.Config{CPUs: 2, RAM: []vm.Backend{{MiB: 64}, {MiB: 64, Sharing: vm.PrivateFile}}},
			[]string{"ram ram1", "backend ram1 (memory-backend-file) is private memory", "id=ram1"},
		},
		"ivshmem": {
			vm.Config{RAM: []vm.Backend{{MiB: 128}}, Extra: []string{
				"-object", "memory-backend-ram,id=other,size=1M,share=on", "-device", "ivshmem-plain,memdev=other",
			}},
			[]string{"ivshmem", "its memory is shared with other guests", "remove the device"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			x.config.Paused = true
			m := newMover(t, bench.Config{VM: x.config})
			m.monitors()
			before := m.condition()
			for _, option := range []string{"--dry-run", "--dry-run=false"} {
				send := m.send(option)
				send.exits(1)
				send.says(append(x.texts, "the source refuses", "hint: ")...)
			}
			m.untouched(before)
		})
	}
}

// monitors waits until a VMM that was just started listens on its monitors.
func (m *mover) monitors() {
	m.t.Helper()
	if _, err := m.pair.Source().PID(m.ctx); err != nil {
		m.t.Fatalf("%v\n%s", err, m.pair.Source().Log())
	}
}
