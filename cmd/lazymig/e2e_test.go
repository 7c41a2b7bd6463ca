package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lazymig/lazymig/bench"
	"github.com/lazymig/lazymig/bench/leftover"
	"github.com/lazymig/lazymig/bench/link"
	"github.com/lazymig/lazymig/bench/prereq"
	"github.com/lazymig/lazymig/bench/vm"
	"github.com/lazymig/lazymig/internal/migrate"
)

// The end-to-end tests move real guests between two network namespaces with
// the commands that a user types.

// Bounds of one test: boots of an emulated guest take seconds, and two
// processors do everything. Measurements in full repeat it all many times.
const (
	moveTimeout = 3 * time.Minute
	fullTimeout = 30 * time.Minute
)

// port is where receive listens; each test has its own network.
const port = "7007"

// mover moves one guest back and forth.
type mover struct {
	t     *testing.T
	ctx   context.Context
	pair  *bench.Pair
	state map[link.Side]string // state directories
	tls   map[link.Side]string
	rams  []string // what the command lines of destinations name
	// both are options for send and receive.
	both []string
	// binary is the lazymig that runs.
	binary string
}

// newMover starts a guest on host A. Nothing of it is left after the test.
func newMover(t *testing.T, config bench.Config) *mover {
	t.Helper()
	prereq.Require(t, append(prereq.Guest(), prereq.Network()...)...)
	timeout := moveTimeout
	if isFull() {
		timeout = fullTimeout
	}
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	t.Cleanup(cancel)
	state := map[link.Side]string{link.HostA: t.TempDir(), link.HostB: t.TempDir()} // removed after explain has read them
	before := leftover.Take()
	pair, err := bench.New(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	m := &mover{t: t, ctx: ctx, pair: pair, binary: "lazymig", state: state, tls: map[link.Side]string{}}
	t.Cleanup(func() {
		if t.Failed() {
			m.explain()
		}
		if err := pair.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		m.removeRAM()
		if left := before.Since(pair.Name); len(left) > 0 {
			t.Errorf("left behind: %q", left)
		}
	})
	m.identify()
	return m
}

// identify makes a CA and gives each host a certificate.
func (m *mover) identify() {
	m.t.Helper()
	ca := m.t.TempDir()
	m.cert("ca", "--tls-dir", ca)
	for _, side := range []link.Side{link.HostA, link.HostB} {
		m.cert("issue", "host-"+string(side), "--tls-dir", ca)
		m.tls[side] = m.t.TempDir()
		for from, to := range map[string]string{
			"ca.crt": "ca.crt", "domain.key": "domain.key",
			"host-" + string(side) + ".crt": "host.crt", "host-" + string(side) + ".key": "host.key",
		} {
			text, err := os.ReadFile(filepath.Join(ca, from))
			if err != nil {
				m.t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(m.tls[side], to), text, 0o600); err != nil {
				m.t.Fatal(err)
			}
		}
	}
}

func (m *mover) cert(args ...string) {
	m.t.Helper()
	if out, err := exec.CommandContext(m.ctx, "lazymig", append([]string{"cert"}, args...)...).CombinedOutput(); err != nil {
		m.t.Fatalf("lazymig cert %q: %v\n%s", args, err, out)
	}
}

// explain logs what both sides have said.
func (m *mover) explain() {
	m.t.Logf("log of the guest's VM:\n%s", m.pair.Source().Log())
	for side, dir := range m.state {
		logs, _ := filepath.Glob(filepath.Join(dir, "vm", "*", "*.log"))
		for _, log := range logs {
			text, _ := os.ReadFile(log)
			m.t.Logf("host %s, %s:\n%s", side, filepath.Base(log), tail(string(text), 6000))
		}
	}
}

// removeRAM removes the RAM files that receive made for guests that have
// arrived, as an operator does behind a guest that has ended.
func (m *mover) removeRAM() {
	for _, ram := range m.rams {
		left, _ := filepath.Glob(ram + ".lazymig-*")
		for _, path := range left {
			if err := os.Remove(path); err != nil {
				m.t.Error(err)
			}
		}
	}
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

// destination returns the place that the guest goes to.
func (m *mover) destination() *vm.VM {
	m.t.Helper()
	v, err := m.pair.Destination()
	if err != nil {
		m.t.Fatal(err)
	}
	return v
}

// receive starts `lazymig receive` where the guest is to go, with options in
// front of the VMM's command line, and waits until it listens.
func (m *mover) receive(options ...string) *side {
	m.t.Helper()
	v := m.destination()
	return m.receiveWith(v.Args(), options...)
}

func (m *mover) receiveWith(vmm []string, options ...string) *side {
	m.t.Helper()
	host := m.destination().Side()
	args := append([]string{
		"receive", "--json", "--listen", host.Address() + ":" + port, "--state-dir", m.state[host], "--tls-dir", m.tls[host],
	}, append(m.both, options...)...)
	s := m.start(host, append(append(args, "--"), vmm...)...)
	s.listens()
	return s
}

// listens waits until a receive waits for its source, or has ended.
func (s *side) listens() {
	s.m.t.Helper()
	s.waitFor("it listens or ends", func(e migrate.Event) bool { return strings.HasPrefix(e.Message, "waiting for") })
}

// send starts `lazymig send` where the guest is.
func (m *mover) send(options ...string) *side {
	m.t.Helper()
	host := m.pair.Source().Side()
	return m.start(host, append([]string{
		"send", "--json", "--qmp", m.pair.Source().QMPPath(), "--to", host.Other().Address() + ":" + port,
		"--state-dir", m.state[host], "--tls-dir", m.tls[host],
	}, append(m.both, options...)...)...)
}

// side is a running command.
type side struct {
	m      *mover
	name   string
	cmd    *exec.Cmd
	stderr strings.Builder
	ended  chan struct{}

	mu      sync.Mutex // protects all below
	events  []migrate.Event
	changed chan struct{} // closed and replaced at each event
}

func (m *mover) start(host link.Side, args ...string) *side {
	m.t.Helper()
	path, err := exec.LookPath(m.binary)
	if err != nil {
		m.t.Fatal(err)
	}
	return m.run(args[0], m.pair.Link.Command(context.Background(), host, path, args...))
}

// run starts a command that prints events.
func (m *mover) run(name string, cmd *exec.Cmd) *side {
	m.t.Helper()
	s := &side{m: m, name: name, cmd: cmd, ended: make(chan struct{}), changed: make(chan struct{})}
	s.cmd.Stderr = &s.stderr
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		m.t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	go s.follow(bufio.NewScanner(out))
	m.t.Cleanup(func() {
		_ = s.cmd.Process.Kill() // most often it has ended
		<-s.ended
	})
	return s
}

func (s *side) follow(lines *bufio.Scanner) {
	defer close(s.ended)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		var e migrate.Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			e = migrate.Event{Event: "garbage", Message: lines.Text()}
		}
		s.mu.Lock()
		s.events = append(s.events, e)
		close(s.changed)
		s.changed = make(chan struct{})
		s.mu.Unlock()
	}
	_ = s.cmd.Wait() // the state is in cmd
}

// waitFor waits for an event that is wanted, or for the end of the command.
// It reports whether the event came.
func (s *side) waitFor(what string, want func(migrate.Event) bool) bool {
	s.m.t.Helper()
	for {
		s.mu.Lock()
		found, changed := slices.ContainsFunc(s.events, want), s.changed
		s.mu.Unlock()
		if found {
			return true
		}
		select {
		case <-changed:
		case <-s.ended:
			s.mu.Lock()
			defer s.mu.Unlock()
			return slices.ContainsFunc(s.events, want)
		case <-s.m.ctx.Done():
			s.m.t.Fatalf("%s: wait until %s: %v\n%s", s.name, what, context.Cause(s.m.ctx), s.stderr.String())
		}
	}
}

// reaches waits for a state; the test fails if the command ends without it.
func (s *side) reaches(state string) {
	s.m.t.Helper()
	if !s.waitFor("it reaches "+state, func(e migrate.Event) bool { return e.State == state }) {
		s.m.t.Fatalf("%s ended without reaching %s: %v\n%s", s.name, state, s.cmd.ProcessState, s.stderr.String())
	}
}

// exits waits for the end and checks the exit code. It returns the report.
func (s *side) exits(code int) migrate.Report {
	s.m.t.Helper()
	select {
	case <-s.ended:
	case <-s.m.ctx.Done():
		s.m.t.Fatalf("%s does not end: %v\n%s", s.name, context.Cause(s.m.ctx), s.stderr.String())
	}
	if got := s.cmd.ProcessState.ExitCode(); got != code {
		s.m.t.Errorf("%s: exit code %d, want %d\n%s", s.name, got, code, s.stderr.String())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range slices.Backward(s.events) {
		if e.Event == migrate.EventReport && e.Report != nil {
			return *e.Report
		}
	}
	return migrate.Report{}
}

// says checks that standard error has each of the texts.
func (s *side) says(texts ...string) {
	s.m.t.Helper()
	<-s.ended
	for _, text := range texts {
		if !strings.Contains(s.stderr.String(), text) {
			s.m.t.Errorf("%s says nothing of %q:\n%s", s.name, text, s.stderr.String())
		}
	}
}

// verify checks every word of the guest's memory, its disk records and its
// heartbeat.
func (m *mover) verify() {
	m.t.Helper()
	answer, err := m.pair.Source().Verify(m.ctx)
	if err != nil {
		m.t.Error(err)
	}
	if m.pair.Disk != "" && answer.Number("records") == 0 {
		m.t.Errorf("no disk record was verified: %s", answer)
	}
	if err := m.pair.Beats.Check(); err != nil {
		m.t.Error(err)
	}
}

// moved takes note of a move and checks that nothing of it is left at the
// source and that the destination needs no lazymig.
func (m *mover) moved() {
	m.t.Helper()
	former := m.pair.Source()
	for _, path := range former.RAMFiles() {
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			m.t.Errorf("the RAM file %s of the source is still there: %v", path, err)
		}
	}
	select {
	case <-former.Exited():
	default:
		if former.Exited() != nil {
			m.t.Error("the VMM of the source still runs")
		}
	}
	if err := m.pair.Moved(); err != nil {
		m.t.Fatal(err)
	}
	m.rams = append(m.rams, m.pair.Source().RAMFiles()...)
	m.noLazymig()
}

// noLazymig checks that no process of lazymig works on the guest any more.
func (m *mover) noLazymig() {
	m.t.Helper()
	for len(m.processes("engine", "keeper")) > 0 {
		m.pause(fmt.Sprintf("processes of lazymig are left: %q", m.processes("engine", "keeper")))
	}
}

// processes lists the processes of lazymig that work on the guest in one of
// the roles, as "PID COMMAND".
func (m *mover) processes(roles ...string) []string {
	paths, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	var found []string
	for _, path := range paths {
		text, _ := os.ReadFile(path)
		args := strings.Split(string(text), "\x00")
		if len(args) > 2 && slices.Contains(roles, args[1]) && args[2] == m.pair.Name {
			found = append(found, strings.Split(path, "/")[2]+" "+strings.Join(args, " "))
		}
	}
	return found
}

// stays checks that the guest runs at the source as before, and that no VMM is
// left at the destination.
func (m *mover) stays() {
	m.t.Helper()
	beats := m.pair.Source().Stream()
	if _, err := beats.Wait(m.ctx, 200); err != nil {
		m.t.Fatalf("the guest does not run at the source: %v", err)
	}
	for len(vmms(m.destination())) > 0 {
		m.pause("a VMM is left at the destination")
	}
	if err := m.pair.Dropped(); err != nil {
		m.t.Error(err)
	}
	m.verify()
}

// pause is one turn of a loop that waits for something to happen.
func (m *mover) pause(problem string) {
	m.t.Helper()
	select {
	case <-time.After(10 * time.Millisecond):
	case <-m.ctx.Done():
		m.t.Fatalf("%s: %v", problem, context.Cause(m.ctx))
	}
}

// vmms lists the processes that were started for a place.
func vmms(v *vm.VM) []string {
	paths, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	var found []string
	for _, path := range paths {
		text, _ := os.ReadFile(path)
		if strings.HasPrefix(filepath.Base(string(text)), "qemu") && strings.Contains(string(text), v.MonitorPath()) {
			found = append(found, path)
		}
	}
	return found
}

// stoodStill is the time from STOP to RESUME, in ms, by the VMMs' own time stamps:
// here both hosts have one clock.
func stoodStill(sent migrate.Report) float64 {
	return float64(sent.ResumedAt.Sub(sent.StoppedAt).Microseconds()) / 1000
}

// describe logs the figures of a move.
func (m *mover) describe(sent, received migrate.Report) {
	m.t.Helper()
	seen, err := m.pair.Beats.Switch(m.pair.Source().Stream())
	if err != nil {
		m.t.Error(err)
		return
	}
	m.t.Logf("stopped %.1f ms, by the VMMs %.1f ms, heartbeat gap %v, worst operation %v, total %.0f ms; zero %d, demand %d, bulk %d pages; faults %+v; load of the switch %+v",
		sent.StoppedMS, stoodStill(sent), seen.Gap, seen.Worst, sent.TotalMS, received.PagesZero, received.PagesDemand, received.PagesBulk, received.FaultUS.Remote, received.FaultUS.Zero)
}
