package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/internal/migrate"
	"github.com/lazymig/lazymig/internal/vmm/firecracker"
	"github.com/lazymig/lazymig/uffd"
)

// testVMM is the command lazymig-vmm SOCKET FILE: a VMM that hands its memory
// over, reads all of it, and says whether it is what FILE has.
func testVMM(args []string) int {
	if err := restore(args[0], args[1]); err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("the memory is right")
	return 0
}

func restore(socket, file string) error {
	want, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	memory, err := unix.Mmap(-1, 0, len(want), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return err
	}
	h, err := uffd.Open()
	if err != nil {
		return err
	}
	if _, err = h.Handshake(uffd.FeatureEventRemove); err != nil {
		return err
	}
	region := firecracker.Region{
		Address: uint64(uintptr(unsafe.Pointer(&memory[0]))), Size: uint64(len(memory)), PageSize: lazymig.PageSize,
	}
	if err := h.Register(region.Address, region.Size); err != nil {
		return err
	}
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	if err := firecracker.Send(conn.(*net.UnixConn), []firecracker.Region{region}, h.Fd()); err != nil {
		return err
	}
	if !bytes.Equal(memory, want) {
		return errors.New("the memory is wrong")
	}
	return nil
}

// serving is a serve-… command that runs.
type serving struct {
	cmd    *exec.Cmd
	events chan migrate.ServeEvent
	errors bytes.Buffer
}

// serve starts a command with --json and waits until it listens.
func serve(t *testing.T, args ...string) *serving {
	t.Helper()
	s := &serving{cmd: exec.Command("lazymig", append(args, "--json")...), events: make(chan migrate.ServeEvent, 10000)}
	stdout, err := s.cmd.StdoutPipe()
	check(t, err)
	s.cmd.Stderr = &s.errors
	check(t, s.cmd.Start())
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill() // it may have ended
		_ = s.cmd.Wait()
	})
	go func() {
		defer close(s.events)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			var e migrate.ServeEvent
			if json.Unmarshal(lines.Bytes(), &e) == nil {
				s.events <- e
			}
		}
	}()
	s.expect(t, migrate.EventListening)
	return s
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (s *serving) expect(t *testing.T, kind string) migrate.ServeEvent {
	t.Helper()
	limit := time.After(20 * time.Second)
	for {
		select {
		case e, ok := <-s.events:
			if !ok {
				t.Fatalf("%v ended without %s: %s", s.cmd.Args, kind, &s.errors)
			}
			if e.Event == kind {
				return e
			}
		case <-limit:
			t.Fatalf("%v tells of no %s", s.cmd.Args, kind)
		}
	}
}

// end waits for the exit code, after a signal unless that is 0.
func (s *serving) end(t *testing.T, signal unix.Signal, want int) {
	t.Helper()
	if signal != 0 {
		check(t, s.cmd.Process.Signal(signal))
	}
	s.expect(t, migrate.EventReport)
	for range s.events { // to the end of its output
	}
	_ = s.cmd.Wait() // how it ended is in ProcessState
	if got := s.cmd.ProcessState.ExitCode(); got != want {
		t.Errorf("%v ended with %d, want %d: %s", s.cmd.Args, got, want, &s.errors)
	}
}

// TestServeCommands runs both commands and a VMM as three processes.
func TestServeCommands(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: creates userfaultfds")
	}
	if _, err := uffd.Features(); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	file, socket := filepath.Join(dir, "memory"), filepath.Join(dir, "socket")
	content := make([]byte, 4<<20)
	_, _ = rand.NewChaCha8([32]byte{7}).Read(content[1<<20:]) // never fails
	check(t, os.WriteFile(file, content, 0o600))
	address := unusedAddress(t)

	server := serve(t, "serve-memory", "--listen", address, "--memory", file, "--insecure-loopback")
	handler := serve(t, "serve-uffd", "--socket", socket, "--from", address, "--insecure-loopback")
	for range 2 {
		runVMM(t, socket, file)
	}
	if served := handler.expect(t, migrate.EventDetached).Served; served.PagesTotal != uint64(len(content)/lazymig.PageSize) {
		t.Errorf("served %+v", served)
	}
	handler.end(t, unix.SIGTERM, exitDone)
	local := serve(t, "serve-uffd", "--socket", socket, "--memory", file, "--once")
	runVMM(t, socket, file)
	local.end(t, 0, exitDone)

	check(t, os.Chtimes(file, time.Now(), time.Now().Add(time.Minute)))
	server.expect(t, migrate.EventMessage)
	server.end(t, unix.SIGINT, exitFailed)
	if text := server.errors.String(); !strings.Contains(text, "the memory is gone") || !strings.Contains(text, "lazymig: hint: ") {
		t.Errorf("the server says %q", text)
	}
}

func runVMM(t *testing.T, socket, file string) {
	t.Helper()
	vmm := exec.CommandContext(t.Context(), "lazymig-vmm", socket, file)
	// Nothing may stop the threads of a process that waits for pages.
	vmm.Env = append(os.Environ(), "GOGC=off", "GODEBUG=asyncpreemptoff=1")
	if out, err := vmm.CombinedOutput(); err != nil {
		t.Errorf("the VMM: %v: %s", err, out)
	}
}

// unusedAddress returns an address of this machine that nobody listens at.
func unusedAddress(t *testing.T) string {
	t.Helper()
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	check(t, err)
	defer c.Close()
	return c.LocalAddr().String()
}

// TestServeText checks what people read.
func TestServeText(t *testing.T) {
	var out bytes.Buffer
	a := &app{out: io.Discard, err: &out}
	d := a.newServeDisplay(false, "text", "VMM")
	at := time.Now()
	d.event(migrate.ServeEvent{Event: migrate.EventListening, Address: "/run/s"})
	d.event(migrate.ServeEvent{Event: migrate.EventAttached, Time: at, PID: 7})
	for i := range 12 {
		d.event(migrate.ServeEvent{
			Event: migrate.EventProgress, Time: at.Add(time.Duration(i) * time.Second), PID: 7,
			Progress: &migrate.Progress{Total: 1 << 20, Bulk: uint64(i) << 10},
		})
	}
	d.event(migrate.ServeEvent{Event: migrate.EventMessage, PID: 7, Message: "the link was lost"})
	d.event(migrate.ServeEvent{Event: migrate.EventComplete, PID: 7})
	d.event(migrate.ServeEvent{Event: migrate.EventDetached, PID: 7, Served: &migrate.Served{
		Outcome: migrate.ServeComplete, PagesTotal: 1 << 20, PagesDemand: 12, PagesBulk: 99, TotalMS: 1234,
		FaultUS: migrate.Faults{Remote: migrate.Latencies{Count: 12, P50: 100, P99: 900, Max: 1000}},
	}})
	d.event(migrate.ServeEvent{Event: migrate.EventDetached, PID: 8, Served: &migrate.Served{Outcome: migrate.ServeKilled, Reason: "no memory"}})
	got := out.String()
	for _, line := range []string{
		"lazymig: listening at /run/s\n", "lazymig: VMM 7 is here\n", "lazymig: VMM 7: the link was lost\n",
		"lazymig: VMM 7 has all of its memory", "lazymig: VMM 7: 4.0 GiB in 1.23s, 12 pages on demand, 99 in the background\n",
		"waited 12 times: 0.10 ms median", "lazymig: VMM 8 was killed: no memory\n",
	} {
		if !strings.Contains(got, line) {
			t.Errorf("no %q in:\n%s", line, got)
		}
	}
	if n := strings.Count(got, "ETA"); n != 2 {
		t.Errorf("%d lines of progress in 12 s:\n%s", n, got)
	}
}
