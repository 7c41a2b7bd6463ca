package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lazymig/lazymig/bench/heartbeat"
	"github.com/lazymig/lazymig/internal/relay"
	"github.com/lazymig/lazymig/internal/vmm/microvm"
)

// tinyRAM is the size of a guest in the embedded VMM.
const tinyRAM = 32 << 20

// tiny is a guest in the embedded VMM, and the hosts that it moves between: a
// state directory each.
type tiny struct {
	*mover
	dir   string
	accel microvm.Accel
	user  *syscall.Credential // of all processes; nil: the test's own
	beats *heartbeat.Recorder

	source  string // control socket of the VMM that runs the guest
	arrival string // of the VMM at the destination
	host    int    // where that is
	vmms    int    // started so far
	ram     string // of the guest
	process int    // of its VMM
}

func newTiny(t *testing.T, accel microvm.Accel) *tiny {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), moveTimeout)
	t.Cleanup(cancel)
	dir, err := os.MkdirTemp("", "lazymig-tiny-") //nolint:usetesting // other users must reach it, and sockets have short paths
	if err != nil {
		t.Fatal(err)
	}
	g := &tiny{mover: &mover{t: t, ctx: ctx, binary: "lazymig"}, dir: dir, accel: accel, beats: heartbeat.NewRecorder()}
	t.Cleanup(g.remove)
	return g
}

// remove takes everything away. A VMM that was left is killed.
func (g *tiny) remove() {
	for _, pid := range g.workers("keeper", g.dir) {
		_ = syscall.Kill(pid, syscall.SIGKILL) // it tells a side that is gone
	}
	files, _ := filepath.Glob(filepath.Join("/dev/shm", filepath.Base(g.dir)+"*"))
	for _, path := range files {
		_ = os.Remove(path) // it may have gone meanwhile
	}
	if err := os.RemoveAll(g.dir); err != nil {
		g.t.Error(err)
	}
}

// command runs lazymig as the user of the guest.
func (g *tiny) command(args ...string) *exec.Cmd {
	g.t.Helper()
	path, err := exec.LookPath(g.binary)
	if err != nil {
		g.t.Fatal(err)
	}
	command := exec.Command(path, args...)
	command.SysProcAttr = &syscall.SysProcAttr{Credential: g.user}
	return command
}

// vmm returns the command line of the next VMM, whose heartbeat is recorded.
func (g *tiny) vmm(size int) (args []string, control string) {
	g.t.Helper()
	g.vmms++
	path := func(name string) string { return filepath.Join(g.dir, fmt.Sprint(name, g.vmms)) }
	stream := g.beats.Stream()
	l, err := net.Listen("unix", path("serial"))
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { l.Close() })
	if err := os.Chmod(path("serial"), 0o777); err != nil {
		g.t.Fatal(err)
	}
	go func() {
		if conn, err := l.Accept(); err == nil {
			stream.Serve(conn)
			conn.Close()
		}
	}()
	control = path("control")
	return []string{
		"microvm", "--name", "tiny", "--ram", fmt.Sprintf("/dev/shm/%s-%d", filepath.Base(g.dir), g.vmms),
		"--size", strconv.Itoa(size), "--control", control, "--serial", path("serial"), "--accel", string(g.accel),
	}, control
}

// boot starts the guest.
func (g *tiny) boot() {
	g.t.Helper()
	args, control := g.vmm(tinyRAM)
	vm := g.command(args...)
	var output strings.Builder
	vm.Stderr = &output
	if err := vm.Start(); err != nil {
		g.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- vm.Wait() }()
	g.t.Cleanup(func() {
		_ = vm.Process.Kill() // most often it has ended
		<-ended
	})
	g.source = control
	for {
		if _, err := microvm.Ask(g.ctx, control); err == nil {
			break
		}
		g.pause("the microvm does not come up: " + output.String())
	}
	g.look()
}

// look notes which VMM runs the guest.
func (g *tiny) look() microvm.Status {
	g.t.Helper()
	s, err := microvm.Ask(g.ctx, g.source)
	if err != nil {
		g.t.Fatal(err)
	}
	g.process, g.ram = s.PID, s.RAM
	return s
}

func (g *tiny) state(host int) string { return filepath.Join(g.dir, fmt.Sprint("state", host)) }

// receive starts a destination at the other host and returns the control
// socket of its VMM, and where it listens.
func (g *tiny) receive(size int) (receive *side, control, address string) {
	g.t.Helper()
	address = g.freePort()
	vmm, control := g.vmm(size)
	g.arrival = control
	path, err := exec.LookPath(g.binary)
	if err != nil {
		g.t.Fatal(err)
	}
	args := append([]string{"receive", "--json", "--listen", address, "--insecure-loopback", "--state-dir", g.state(1 - g.host), "--", path}, vmm...)
	receive = g.run("receive", g.command(args...))
	receive.listens()
	g.t.Cleanup(func() { g.kill(control) })
	return receive, control, address
}

func (g *tiny) send(address string, options ...string) *side {
	args := []string{"send", "--json", "--microvm", g.source, "--to", address, "--insecure-loopback", "--state-dir", g.state(g.host)}
	return g.run("send", g.command(append(args, options...)...))
}

// kill ends the VMM behind a control socket, if there is one.
func (g *tiny) kill(control string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = microvm.Quit(ctx, control) // it may never have come
}

// workers lists the processes of lazymig in a role that have something below a
// directory open.
func (g *tiny) workers(role, dir string) []int {
	paths, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	var found []int
	for _, path := range paths {
		text, _ := os.ReadFile(path)
		if args := strings.Split(string(text), "\x00"); len(args) < 3 || args[1] != role {
			continue
		}
		files, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "fd", "*"))
		if slices.ContainsFunc(files, func(f string) bool {
			target, _ := os.Readlink(f)
			return strings.HasPrefix(target, dir)
		}) {
			pid, _ := strconv.Atoi(strings.Split(path, "/")[2])
			found = append(found, pid)
		}
	}
	return found
}

// running lists the processes of the VMM with that control socket.
func (g *tiny) running(control string) []string {
	paths, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	return slices.DeleteFunc(paths, func(path string) bool {
		text, _ := os.ReadFile(path)
		args := strings.Split(string(text), "\x00")
		return len(args) < 2 || args[1] != microvm.Command || !slices.Contains(args, control)
	})
}

// engineOf returns the engine at a host.
func (g *tiny) engineOf(host int) int {
	g.t.Helper()
	for {
		if engines := g.workers("engine", g.state(host)); len(engines) == 1 {
			return engines[0]
		}
		g.pause("there is no engine")
	}
}

// move moves the guest to the other host.
func (g *tiny) move() {
	g.t.Helper()
	vmm, ram := g.process, g.ram
	receive, control, address := g.receive(tinyRAM)
	send := g.send(address)
	sent, received := send.exits(0), receive.exits(0)
	g.source, g.host = control, 1-g.host
	g.t.Logf("stood still for %.2f ms; %d pages on demand, %d in the background, %d zero", stoodStill(sent), received.PagesDemand, received.PagesBulk, received.PagesZero)
	if err := syscall.Kill(vmm, 0); !errors.Is(err, syscall.ESRCH) && !isZombie(vmm) {
		g.t.Errorf("the VMM of the source is still there: %v", err)
	}
	if _, err := os.Stat(ram); !errors.Is(err, os.ErrNotExist) {
		g.t.Errorf("the RAM file of the source is still there: %v", err)
	}
	g.look()
}

// isZombie tells whether a process has ended and its parent has not noticed.
func isZombie(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && strings.Contains(string(text), ") Z ")
}

// verify checks every byte of the memory, and that no beat is missing.
func (g *tiny) verify() {
	g.t.Helper()
	v, err := microvm.Verify(g.ctx, g.source)
	if err != nil || v.Wrong > 0 || v.Errors > 0 || v.Pages != tinyRAM/4096 {
		g.t.Errorf("memory: %+v, %v", v, err)
	}
	if err := g.beats.Check(); err != nil {
		g.t.Error(err)
	}
}

// TestMicroVM moves a guest of the embedded VMM there and back, with each kind
// of vCPU that this host has, and from one kind to the other.
func TestMicroVM(t *testing.T) {
	ways := [][2]microvm.Accel{{microvm.AccelNative, microvm.AccelNative}}
	if f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0); err == nil && os.Geteuid() == 0 {
		f.Close()
		ways = append(ways, [2]microvm.Accel{microvm.AccelKVM, microvm.AccelKVM}, [2]microvm.Accel{microvm.AccelKVM, microvm.AccelNative})
	}
	for _, way := range ways {
		t.Run(fmt.Sprintf("%s to %s", way[0], way[1]), func(t *testing.T) {
			g := newTiny(t, way[0])
			g.boot()
			for i := range 2 {
				g.accel = way[1-i]
				g.move()
			}
			g.verify()
		})
	}
}

// TestMicroVMUnprivileged moves a guest as a user without privileges.
func TestMicroVMUnprivileged(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("skipped: only root can become another user; TestMicroVM is the same here")
	}
	g := newTiny(t, microvm.AccelAuto)
	g.binary = filepath.Join(g.dir, "lazymig")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", g.binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build lazymig: %v\n%s", err, out)
	}
	const nobody = 65534
	g.user = &syscall.Credential{Uid: nobody, Gid: nobody}
	if err := errors.Join(os.Chmod(g.dir, 0o755), os.Chown(g.dir, nobody, nobody)); err != nil {
		t.Fatal(err)
	}
	g.boot()
	g.move()
	if s := g.look(); s.Accel != microvm.AccelNative {
		t.Errorf("the destination runs on %s", s.Accel)
	}
	g.verify()
}

// TestMicroVMPaused moves a guest that does not run: it arrives so.
func TestMicroVMPaused(t *testing.T) {
	g := newTiny(t, microvm.AccelNative)
	g.boot()
	if err := microvm.Pause(g.ctx, g.source); err != nil {
		t.Fatal(err)
	}
	g.move()
	if g.look().Running {
		t.Error("the guest runs")
	}
	g.verify()
	if err := microvm.Resume(g.ctx, g.source); err != nil || !g.look().Running {
		t.Errorf("resume: %v", err)
	}
	g.verify()
}

// TestMicroVMTakenBack ends migrations before the destination has run the
// guest, over a path on which each word takes 150 ms, so that there is time to
// do something in between. The guest goes on where it was, and then it moves.
func TestMicroVMTakenBack(t *testing.T) {
	g := newTiny(t, microvm.AccelNative)
	g.boot()
	for _, x := range []struct {
		name    string
		size    int
		end     func(send, receive *side)
		options []string
		says    string
	}{
		{name: "another size", size: 2 * tinyRAM, says: "hint: give the destination --size 33554432"},
		{name: "too slow", options: []string{"--ready-timeout", "100ms"}, says: "not ready in time"},
		{name: "the destination dies in ARMED", says: "lost the link", end: func(_, receive *side) {
			receive.reaches("ARMED")
			g.signal(g.engineOf(1-g.host), syscall.SIGKILL)
		}},
		{name: "the destination dies in LOADED", says: "lazymig: error", end: func(_, receive *side) {
			receive.reaches("LOADED")
			g.signal(g.engineOf(1-g.host), syscall.SIGKILL)
		}},
		{name: "somebody runs it at the destination", says: "lazymig: error", end: func(_, receive *side) {
			receive.reaches("LOADED")
			if err := microvm.Resume(g.ctx, g.arrival); err != nil {
				t.Error(err)
			}
			receive.says("somebody else let the guest run")
		}},
		{name: "the source dies", says: "the engine died", end: func(send, _ *side) {
			send.reaches("FROZEN")
			g.signal(g.engineOf(g.host), syscall.SIGKILL)
		}},
		{name: "cancelled at the source", says: "cancelled", end: func(send, _ *side) {
			send.reaches("FROZEN")
			send.interrupt()
		}},
	} {
		began := time.Now()
		receive, control, address := g.receive(max(x.size, tinyRAM))
		path := g.slowPath(address)
		send := g.send(path, append([]string{"--ready-timeout", "30s"}, x.options...)...)
		if x.end != nil {
			x.end(send, receive)
		}
		send.exits(1)
		send.says(x.says)
		<-receive.ended
		g.returned(x.name, control)
		t.Logf("%s: %v", x.name, time.Since(began))
	}
	g.move()
	g.verify()
}

// slowPath returns the address of a path to another address of this machine.
func (g *tiny) slowPath(address string) string {
	g.t.Helper()
	r, err := relay.Start(relay.Config{Server: netip.MustParseAddrPort(address), Delay: 150 * time.Millisecond})
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { r.Close() })
	return r.Addr().String()
}

// returned checks that the guest runs at the source, and that nothing runs at
// the destination.
func (g *tiny) returned(name, control string) {
	g.t.Helper()
	for len(g.workers("engine", g.dir))+len(g.workers("keeper", g.state(1-g.host))) > 0 || !g.look().Running {
		g.pause(name + ": somebody still works for the destination, or the guest does not run")
	}
	for len(g.running(control)) > 0 {
		g.pause(name + ": the VMM of the destination is there")
	}
	g.verify()
}
