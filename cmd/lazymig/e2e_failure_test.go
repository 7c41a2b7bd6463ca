package main

import (
	"context"
	"os"
	"path/filepath"
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
	"github.com/lazymig/lazymig/internal/vmm/qmp"
)

// smallGuest boots fast. It has everything that the large one has.
func smallGuest() bench.Config {
	return bench.Config{
		VM:      vm.Config{RAM: []vm.Backend{{MiB: 384}}, Guest: guest.Params{MemoryMiB: 64}},
		DiskMiB: 16,
	}
}

// engine returns the process of a side's engine.
func (s *side) engine() int {
	s.m.t.Helper()
	host := s.m.pair.Source().Side()
	if s.name == "receive" {
		host = s.m.destination().Side()
	}
	for _, p := range s.m.processes("engine") {
		pid, _, _ := strings.Cut(p, " ")
		// Its log is in the side's state directory. In a chroot the path of a file
		// of another mount namespace begins outside.
		log, _ := os.Readlink("/proc/" + pid + "/fd/1")
		if strings.Contains(log, s.m.state[host]) {
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

// settles waits until no engine works on the guest any more. A keeper may
// still be telling the other side of an abort.
func (m *mover) settles() {
	m.t.Helper()
	for len(m.processes("engine")) > 0 {
		m.pause("an engine does not end")
	}
}

// slow makes the destination's words crawl over the line, so that there is time
// for something between the freeze and the commit.
func (m *mover) slow() {
	m.t.Helper()
	slow := m.pair.Link.Command(m.ctx, m.destination().Side(), "tc",
		"qdisc", "replace", "dev", link.Uplink, "root", "tbf", "rate", "128kbit", "burst", "2000", "latency", "10s")
	if out, err := slow.CombinedOutput(); err != nil {
		m.t.Fatalf("slow the line down: %v: %s", err, out)
	}
}

// fast takes slow back.
func (m *mover) fast() {
	m.t.Helper()
	if err := m.pair.Link.SetRate(m.ctx, 0); err != nil {
		m.t.Fatal(err)
	}
}

// stopAtLoaded starts a move and stops the source's engine by a signal when
// the destination could run the guest and the source has not decided.
func (m *mover) stopAtLoaded() (send, receive *side, engine int) {
	m.t.Helper()
	m.slow()
	receive, send = m.receive(), m.send("--ready-timeout", "30s")
	send.reaches("PREPARING")
	engine = send.engine()
	receive.reaches("LOADED")
	m.signal(engine, syscall.SIGSTOP)
	if state := m.last(m.pair.Source().Side()).State; state != failover.StateFrozen {
		m.t.Fatalf("the source is in %v already", state)
	}
	m.fast()
	return send, receive, engine
}

// TestAbortAtLoaded takes the guest back when the destination could run it: the
// source's engine dies, and its keeper aborts. The guest goes on at the source
// with its disk, and the destination sent nothing for it.
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
	send, receive, engine := m.stopAtLoaded()
	m.signal(engine, syscall.SIGKILL)
	send.exits(1)
	receive.exits(1)
	m.stays()
	if count, frames, err := capture.Frames(); count > 0 || err != nil {
		t.Errorf("%d frames of the guest came from the destination: %q, %v", count, frames, err)
	}
	m.settles()
	// The same guest moves when nothing is in the way.
	receive, send = m.receive(), m.send()
	send.exits(0)
	receive.exits(0)
	m.moved()
	m.verify()
	if err := echo.Close(); err != nil {
		t.Errorf("the TCP connection did not survive: %v", err)
	}
}

// TestReadyTimeout takes the guest back when the destination is too slow.
func TestReadyTimeout(t *testing.T) {
	m := newMover(t, smallGuest())
	receive, send := m.receive(), m.send("--ready-timeout", "1ms")
	send.exits(1)
	send.says("not ready in time")
	receive.exits(1)
	m.stays()
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

// killAt kills the engine of a side when it reports a state.
func (m *mover) killAt(victim, when string) {
	m.t.Helper()
	m.slow()
	receive := m.receive()
	send := m.send("--ready-timeout", "30s")
	s := send
	if victim == "receive" {
		s = receive
	}
	s.reaches(when)
	m.signal(s.engine(), syscall.SIGKILL)
	m.fast()
	send.exits(1)
	receive.leaves()
	m.settles()
	m.stays()
}

// leaves waits for the end of a receive, which goes on waiting when its source
// has died before it offered anything.
func (s *side) leaves() {
	s.m.t.Helper()
	s.waitFor("it gives up or has lost its source", func(e migrate.Event) bool {
		return e.State == "ABANDONED" || e.State == "RENOUNCED" || strings.Contains(e.Message, "offered nothing")
	})
	_ = s.cmd.Process.Signal(syscall.SIGINT) // it may have ended
	select {
	case <-s.ended:
	case <-s.m.ctx.Done():
		s.m.t.Fatalf("%s does not end", s.name)
	}
}

// TestKillDestinationAtLoaded kills the destination's engine when it could run
// the guest and the source has not decided. Whatever the source decides then,
// the guest goes on at the source.
func TestKillDestinationAtLoaded(t *testing.T) {
	for name, otherKey := range map[string]bool{"domain.key": false, "--cache-key": true} {
		t.Run(name, func(t *testing.T) {
			m := newMover(t, smallGuest())
			if otherKey {
				m.otherKey()
			}
			send, receive, engine := m.stopAtLoaded()
			m.signal(receive.engine(), syscall.SIGKILL)
			m.signal(engine, syscall.SIGCONT)
			send.exits(1)
			<-receive.ended
			m.settles()
			m.stays()
			t.Logf("the source ended in %+v", m.last(m.pair.Source().Side()))
		})
	}
}

// otherKey gives both sides a key that is not that of their identities. Their
// keepers must know it, too.
func (m *mover) otherKey() {
	m.t.Helper()
	path := filepath.Join(m.t.TempDir(), "key")
	if err := os.WriteFile(path, []byte(strings.Repeat("5e", 32)+"\n"), 0o600); err != nil {
		m.t.Fatal(err)
	}
	m.both = []string{"--cache-key", path}
}

// TestStrayResume lets the guest run at the destination, by its monitor, before
// the source has decided that. The destination kills it, and the guest goes on
// at the source.
func TestStrayResume(t *testing.T) {
	config := smallGuest()
	config.DiskMiB = 0 // two guests on one disk would be the end of it
	m := newMover(t, config)
	send, receive, engine := m.stopAtLoaded()
	monitor, err := qmp.Dial(m.ctx, m.destination().QMPPath())
	if err != nil {
		t.Fatal(err)
	}
	_ = monitor.Execute(m.ctx, "cont", nil, nil) // QEMU may be killed before it answers
	monitor.Close()
	receive.waitFor("it gives the guest back", func(e migrate.Event) bool { return e.State == "RENOUNCED" })
	m.signal(engine, syscall.SIGCONT)
	send.exits(1)
	receive.exits(1)
	receive.says("somebody else let the guest run")
	m.settles()
	m.stays()
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
