package main

import (
	"context"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lazymig/lazymig/bench"
	"github.com/lazymig/lazymig/bench/guest"
	"github.com/lazymig/lazymig/bench/link"
	"github.com/lazymig/lazymig/bench/vm"
	"github.com/lazymig/lazymig/failover"
	"github.com/lazymig/lazymig/internal/migrate"
)

// smallGuest boots fast. It has everything that the large one has.
func smallGuest() bench.Config {
	return bench.Config{
		VM:      vm.Config{RAM: []vm.Backend{{MiB: 384}}, Guest: guest.Params{MemoryMiB: 64}},
		DiskMiB: 16,
	}
}

// tries bounds how often a test tries to hit a moment of some milliseconds.
const tries = 8

// engine returns the process of a side's engine.
func (s *side) engine() int {
	s.m.t.Helper()
	host := s.m.pair.Source().Side()
	if s.name == "receive" {
		host = s.m.destination().Side()
	}
	for _, p := range s.m.processes("engine") {
		pid, _, _ := strings.Cut(p, " ")
		environ, _ := os.Readlink("/proc/" + pid + "/fd/1") // its log, in the side's state directory
		if strings.HasPrefix(environ, s.m.state[host]) {
			n, err := strconv.Atoi(pid)
			if err != nil {
				s.m.t.Fatal(err)
			}
			return n
		}
	}
	s.m.t.Fatalf("%s has no engine", s.name)
	return 0
}

func (m *mover) signal(pid int, signal syscall.Signal) {
	m.t.Helper()
	if err := syscall.Kill(pid, signal); err != nil {
		m.t.Fatal(err)
	}
}

// last returns the newest record of a host's journal.
func (m *mover) last(host link.Side) failover.Record {
	m.t.Helper()
	dir, err := migrate.VMDir(m.state[host], m.pair.Name)
	if err != nil {
		m.t.Fatal(err)
	}
	records, err := failover.ReadJournal(dir)
	if err != nil || len(records) == 0 {
		m.t.Fatalf("read the journal of host %s: %d records, %v", host, len(records), err)
	}
	return records[len(records)-1]
}

// settles waits until no lazymig works on the guest any more.
func (m *mover) settles() {
	m.t.Helper()
	for len(m.processes("engine", "keeper")) > 0 {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-m.ctx.Done():
			m.t.Fatalf("lazymig does not end: %q", m.processes("engine", "keeper"))
		}
	}
}

// TestAbortAtLoaded takes the guest back when the destination could run it.
// The guest goes on at the source with its disk, and the destination sent
// nothing for it.
func TestAbortAtLoaded(t *testing.T) {
	m := newMover(t, smallGuest())
	echo, err := m.pair.Link.DialEcho(m.ctx, link.GuestAddress)
	if err != nil {
		t.Fatal(err)
	}
	capture, err := m.pair.Link.Capture(link.HostB, link.Tap, vm.MAC())
	if err != nil {
		t.Fatal(err)
	}
	defer capture.Close()
	loaded := false
	for range tries {
		receive := m.receive()
		send := m.send("--ready-timeout", "1ms")
		send.exits(1)
		receive.exits(1)
		m.stays()
		m.settles()
		loaded = receive.waitFor("", func(e migrate.Event) bool { return e.State == "LOADED" })
		if loaded {
			break
		}
	}
	if !loaded {
		t.Fatalf("no abort of %d came when the destination was LOADED", tries)
	}
	if count, frames, err := capture.Frames(); count > 0 || err != nil {
		t.Errorf("%d frames of the guest came from the destination: %q, %v", count, frames, err)
	}
	if err := echo.Close(); err != nil {
		t.Errorf("the TCP connection did not survive: %v", err)
	}
	// The same guest moves when nothing is in the way.
	receive, send := m.receive(), m.send()
	send.exits(0)
	receive.exits(0)
	m.moved()
	m.verify()
}

// TestKillBeforeCommit kills an engine at each step before the commit. The
// keepers see to it that the guest runs at the source and nowhere else.
func TestKillBeforeCommit(t *testing.T) {
	m := newMover(t, smallGuest())
	for _, x := range []struct{ victim, when string }{
		{"receive", "RESERVED"},
		{"receive", "ARMED"},
		{"send", "PREPARING"},
		{"send", "FROZEN"},
	} {
		t.Run(x.victim+" in "+x.when, func(t *testing.T) {
			m.in(t).killAt(x.victim, x.when)
		})
	}
}

// in returns the mover for a subtest.
func (m *mover) in(t *testing.T) *mover {
	inner := *m
	inner.t = t
	return &inner
}

// killAt kills the engine of a side when it reports a state, as often as it
// takes to come before the commit.
func (m *mover) killAt(victim, when string) {
	m.t.Helper()
	for range tries {
		receive := m.receive()
		sides := map[string]*side{"receive": receive, "send": m.send()}
		receive.waitFor("an engine", func(migrate.Event) bool { return true })
		s := sides[victim]
		if !s.waitFor("it reaches "+when, func(e migrate.Event) bool { return e.State == when }) {
			m.t.Fatalf("%s ended before %s:\n%s", victim, when, s.stderr.String())
		}
		m.signal(s.engine(), syscall.SIGKILL)
		<-sides["send"].ended
		<-receive.ended
		m.settles()
		if state := m.last(m.pair.Source().Side()).State; state == failover.StateCeded || state == failover.StateReleased {
			m.t.Skipf("the kill came behind the commit (%v): a frozen guest is what is promised then", state)
		}
		m.stays()
		return
	}
}

// TestKillDestinationAtLoaded kills the destination's engine when it could run
// the guest and the source has not decided. Whatever the source decides then,
// the guest goes on at the source.
func TestKillDestinationAtLoaded(t *testing.T) {
	m := newMover(t, smallGuest())
	for range tries {
		receive := m.receive()
		send := m.send()
		send.reaches("PREPARING")
		pid := send.engine()
		send.waitFor("it freezes", func(e migrate.Event) bool { return e.State == "FROZEN" })
		m.signal(pid, syscall.SIGSTOP)
		if receive.waitFor("it loads", func(e migrate.Event) bool { return e.State == "LOADED" }) && m.last(m.destination().Side()).State == failover.StateLoaded {
			m.signal(receive.engine(), syscall.SIGKILL)
			m.signal(pid, syscall.SIGCONT)
			send.exits(1)
			m.settles()
			m.stays()
			t.Logf("the source ended in %+v", m.last(link.HostA))
			return
		}
		m.signal(pid, syscall.SIGCONT)
		send.exits(0)
		receive.exits(0)
		m.moved()
		m.verify()
	}
	t.Fatalf("the source decided faster than it could be stopped, %d times", tries)
}

// TestCutBeforeCommit cuts the link when the device state is on its way.
func TestCutBeforeCommit(t *testing.T) {
	m := newMover(t, smallGuest())
	if err := m.pair.Link.SetRate(m.ctx, 1e6); err != nil {
		t.Fatal(err)
	}
	receive, send := m.receive(), m.send("--ready-timeout", "30s")
	receive.reaches("ARMED")
	cut := time.Now()
	if err := m.pair.Link.Cut(m.ctx, link.HostB); err != nil {
		t.Fatal(err)
	}
	send.exits(1)
	receive.exits(1)
	t.Logf("both sides gave up %v after the cut", time.Since(cut).Round(time.Millisecond))
	if err := m.pair.Link.Restore(m.ctx, link.HostB); err != nil {
		t.Fatal(err)
	}
	m.settles()
	m.stays()
}

// TestCutAfterCommit cuts the link for ten seconds while the memory follows.
// Both sides go on by themselves.
func TestCutAfterCommit(t *testing.T) {
	m := newMover(t, bench.Config{DiskMiB: 16})
	if err := m.pair.Link.SetRate(m.ctx, 5e8); err != nil {
		t.Fatal(err)
	}
	receive, send := m.receive(), m.send()
	receive.reaches("OWNER")
	if err := m.pair.Link.Cut(m.ctx, link.HostA); err != nil {
		t.Fatal(err)
	}
	const outage = 10 * time.Second
	wait, cancel := context.WithTimeout(m.ctx, outage)
	defer cancel()
	<-wait.Done()
	if err := m.pair.Link.Restore(m.ctx, link.HostA); err != nil {
		t.Fatal(err)
	}
	sent, received := send.exits(0), receive.exits(0)
	m.moved()
	m.verify()
	m.describe(sent, received)
	if received.Reconnects == 0 {
		t.Error("the link was cut and nobody connected again")
	}
}
