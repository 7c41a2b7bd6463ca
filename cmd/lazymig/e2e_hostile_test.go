package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/bench/link"
	"github.com/lazymig/lazymig/internal/migrate"
	"github.com/lazymig/lazymig/internal/vmm"
	"github.com/lazymig/lazymig/internal/vmm/qemu"
	"github.com/lazymig/lazymig/internal/wire"
	"github.com/lazymig/lazymig/quictransport"
)

// A hostile peer has a good certificate and breaks the protocol behind it. It
// is this process, so the commands that it talks to run in this process's
// network namespace; their VMMs still run on their hosts.

// loopback is where hostile peers and their victims meet.
const loopback = "127.0.0.1"

// runHere starts lazymig outside of the hosts' namespaces.
func (m *mover) runHere(args ...string) *side {
	m.t.Helper()
	path, err := exec.LookPath(m.binary)
	if err != nil {
		m.t.Fatal(err)
	}
	return m.run(args[0], exec.CommandContext(context.Background(), path, args...))
}

func (m *mover) load(side link.Side) *quictransport.Identity {
	m.t.Helper()
	id, err := quictransport.LoadIdentity(m.tls[side])
	if err != nil {
		m.t.Fatal(err)
	}
	return id
}

// appender is any frame.
type appender interface{ Append(b []byte) []byte }

// garbage is a frame of no type.
type garbage struct{}

func (garbage) Append(b []byte) []byte {
	return append(b, 0xee, 1, 2, 3, 0xff, 0xff, 0xff, 0xff, 'g', 'a', 'r', 'b', 'a', 'g', 'e')
}

// cut is the beginning of another frame, behind which the stream ends.
type cut struct{ frame appender }

func (c cut) Append(b []byte) []byte {
	whole := c.frame.Append(nil)
	return append(b, whole[:len(whole)-3]...)
}

// outside is a run of pages that no guest has.
func outside() []lazymig.Run { return []lazymig.Run{{First: 1 << 30, Count: 1}} }

// TestHostileDestination has a destination say what it must not say. The guest
// goes on at the source.
func TestHostileDestination(t *testing.T) {
	m := newMover(t, smallGuest())
	armed := wire.Verdict{OK: true, Document: []byte("[]")}
	list := map[string]func(*mover){}
	for name, play := range map[string]func(l *quictransport.Link) []appender{
		"garbage":                  func(*quictransport.Link) []appender { return []appender{garbage{}} },
		"a frame of the source":    func(*quictransport.Link) []appender { return []appender{wire.Commit{Epoch: 1}} },
		"a verdict of no checks":   func(*quictransport.Link) []appender { return []appender{wire.Verdict{OK: true, Document: []byte("{")}} },
		"two verdicts":             func(*quictransport.Link) []appender { return []appender{armed, armed} },
		"ready before the verdict": func(*quictransport.Link) []appender { return []appender{wire.Ready{}} },
		"ready before the state":   func(*quictransport.Link) []appender { return []appender{armed, wire.Ready{}} },
		"oversized verdict": func(*quictransport.Link) []appender {
			return []appender{wire.Verdict{OK: true, Document: make([]byte, wire.MaxDocument+1)}}
		},
		"request out of range": func(l *quictransport.Link) []appender {
			_, _ = l.Demand().Write(wire.Request{Runs: outside()}.Append(nil)) // seen by the other side, if at all
			return []appender{armed}
		},
		"garbage for a request": func(l *quictransport.Link) []appender {
			_, _ = l.Bulk()[0].Write(garbage{}.Append(nil)) // seen by the other side, if at all
			return []appender{armed}
		},
	} {
		list[name] = func(m *mover) { m.hostileDestination(play, false) }
	}
	// A destination that claims to run the guest is believed as far as that a
	// person has to look; the guest still goes on here, its only place.
	for name, frame := range map[string]func(lazymig.Epoch) appender{
		"complete without resumed": func(e lazymig.Epoch) appender { return wire.Complete{Epoch: e, Document: []byte("{}")} },
		"resumed without commit":   func(e lazymig.Epoch) appender { return wire.Resumed{Epoch: e, Ran: true} },
	} {
		list[name] = func(m *mover) {
			m.hostileDestination(func(*quictransport.Link) []appender { return []appender{frame(m.nextEpoch())} }, true)
		}
	}
	m.cases(t, list)
}

// nextEpoch returns the epoch of the attempt that is under way.
func (m *mover) nextEpoch() lazymig.Epoch { return m.last(link.HostA).Epoch }

// hostileDestination listens, plays to the first link once the source has made
// its offer, and knows nothing of later ones.
func (m *mover) hostileDestination(play func(*quictransport.Link) []appender, conflict bool) {
	m.t.Helper()
	listener, err := quictransport.Listen(loopback+":0", m.load(link.HostB), quictransport.Config{})
	if err != nil {
		m.t.Fatal(err)
	}
	first := true
	welcome := func(hello wire.Hello, _ string) (wire.Welcome, error) {
		if !first {
			return wire.Welcome{}, &quictransport.RefusedError{Code: wire.CodeEngine, Text: "unknown"}
		}
		first = false
		return wire.Welcome{Session: hello.Session}, nil
	}
	ctx, cancel := context.WithCancel(m.ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			l, _, err := listener.Accept(ctx, welcome)
			if err != nil {
				return
			}
			if _, _, err := wire.ReadFrameOf(l.Control(), nil, wire.TypeOffer); err != nil {
				continue // the command says what it saw
			}
			for _, f := range play(l) {
				_, _ = l.Control().Write(f.Append(nil)) // it may have closed the link
			}
		}
	}()
	defer func() {
		cancel()
		if err := listener.Close(); err != nil {
			m.t.Error(err)
		}
		<-done
	}()
	send := m.runHere("send", "--json", "--qmp", m.pair.Source().QMPPath(), "--to", listener.Addr().String(),
		"--state-dir", m.state[link.HostA], "--tls-dir", m.tls[link.HostA])
	send.exits(1)
	send.says("lazymig: error: ")
	if conflict {
		send.says("contradict each other")
	}
	m.t.Logf("%s", strings.TrimSpace(send.stderr.String()))
	for len(m.processes("engine", "keeper")) > 0 {
		m.pause("the guest has not been given back")
	}
}

// TestHostileSource has sources say to one receive what they must not say. It
// stays there for the real one, or gives up with nothing left.
func TestHostileSource(t *testing.T) {
	m := newMover(t, smallGuest())
	about := m.describeGuest()
	large, other := about, about
	large.Layout = lazymig.Layout{{Name: "ram0", Size: 1 << 62}}
	other.Layout = lazymig.Layout{{Name: "ram0", Size: 1 << 20}}
	alien := about
	alien.Kind = "abacus"
	t.Run("waits on", func(t *testing.T) {
		m := m.in(t)
		receive, address := m.receiveOnLoopback(t.TempDir())
		for name, frames := range map[string][]appender{
			"garbage":                   {garbage{}},
			"commit before an offer":    {wire.Commit{Epoch: 1}},
			"state before an offer":     {wire.DeviceState{Data: []byte("state")}},
			"a frame of a destination":  {wire.Ready{}},
			"oversized offer":           {wire.Offer{Document: make([]byte, wire.MaxDocument+1)}},
			"truncated offer":           {cut{wire.Offer{Document: []byte("{}")}}},
			"an offer that is no JSON":  {wire.Offer{Document: []byte("{")}},
			"an offer without memory":   {wire.Offer{Document: []byte("{}")}},
			"an offer of 4 EiB":         {wire.Offer{Document: mustMarshal(t, large)}},
			"a dry run without a guest": {wire.Offer{DryRun: true, Document: []byte("{}")}},
		} {
			before := receive.count("offered nothing")
			m.hostileSource(address, frames)
			for receive.count("offered nothing") == before {
				m.pause(name + ": receive does not say that nothing was offered")
			}
		}
		if made, _ := filepath.Glob(m.destination().RAMFiles()[0] + "*"); len(made) > 0 || len(vmms(m.destination())) > 0 {
			t.Errorf("left at the destination: %q", made)
		}
		// All of that did no harm to a real source.
		send := m.runHere("send", "--json", "--dry-run", "--qmp", m.pair.Source().QMPPath(), "--to", address,
			"--state-dir", m.state[link.HostA], "--tls-dir", m.tls[link.HostA])
		send.exits(0)
		receive.interrupt()
		if err := m.pair.Dropped(); err != nil {
			t.Error(err)
		}
	})
	for name, x := range map[string]struct {
		offer *vmm.Description // nil: what the source would offer
		early []appender       // behind the offer
		late  []appender       // behind the verdict
		page  appender         // on a page stream, behind the verdict
		again appender         // on the recipe stream, again and again
	}{
		"another layout":            {offer: &other},
		"another kind of VMM":       {offer: &alien},
		"state before the verdict":  {early: []appender{wire.DeviceState{Data: []byte("state")}}},
		"commit before the verdict": {early: []appender{wire.Commit{Epoch: 1}}},
		"commit before the state":   {late: []appender{wire.Commit{Epoch: 1}}},
		"released before all":       {late: []appender{wire.Released{Epoch: 1}}},
		"garbage for state":         {late: []appender{wire.DeviceState{Data: []byte("garbage")}, wire.DeviceEnd{Bytes: 7}}},
		"garbage":                   {late: []appender{garbage{}}},
		"holes out of range":        {page: wire.Absent{Last: true, Runs: outside()}},
		"garbage for pages":         {page: garbage{}},
		"garbage for a recipe":      {again: garbage{}},
		"recipe out of range":       {again: wire.Recipe{First: 1 << 30, Parts: []wire.RecipePart{{Kind: wire.RecipeZero, Count: 1}}}},
		"recipe without an end":     {again: wire.Recipe{Parts: []wire.RecipePart{{Kind: wire.RecipeDigest, Count: 1000}}, Digests: make([]byte, 32000)}},
	} {
		t.Run(name, func(t *testing.T) {
			m := m.in(t)
			receive, address := m.receiveOnLoopback(t.TempDir())
			offer := wire.Offer{Document: mustMarshal(t, about)}
			if x.offer != nil {
				offer.Document = mustMarshal(t, x.offer)
			}
			l := m.hostileSource(address, append([]appender{offer}, x.early...))
			if x.early == nil {
				if _, _, err := wire.ReadFrameOf(l.Control(), nil, wire.TypeVerdict); err != nil {
					t.Fatal(err)
				}
			}
			for _, f := range x.late {
				_, _ = l.Control().Write(f.Append(nil)) // it may have closed the link
			}
			if x.page != nil {
				_, _ = l.Bulk()[0].Write(x.page.Append(nil)) // as above
			}
			for x.again != nil && l.Err() == nil {
				_, _ = l.Recipe().Write(x.again.Append(nil)) // as above
			}
			receive.exits(1)
			receive.says("lazymig: error: ")
			t.Logf("%s", strings.TrimSpace(receive.stderr.String()))
			for len(m.processes("engine", "keeper")) > 0 || len(vmms(m.destination())) > 0 {
				m.pause("something is left at the destination")
			}
			if made, _ := filepath.Glob(m.destination().RAMFiles()[0] + "*"); len(made) > 0 {
				t.Errorf("left at the destination: %q", made)
			}
			if err := m.pair.Dropped(); err != nil {
				t.Error(err)
			}
		})
	}
	m.stays()
}

func mustMarshal(t *testing.T, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// describeGuest returns what a source would offer.
func (m *mover) describeGuest() vmm.Description {
	m.t.Helper()
	g, err := qemu.Attach(m.ctx, m.pair.Source().QMPPath())
	if err != nil {
		m.t.Fatal(err)
	}
	defer g.Close()
	about, err := g.Describe(m.ctx)
	if err != nil {
		m.t.Fatal(err)
	}
	return vmm.Description{Kind: vmm.KindQEMU, Running: about.Running, Layout: about.Layout(), Details: mustMarshal(m.t, about)}
}

// receiveOnLoopback starts a receive that hostile sources can reach. Its VMM
// enters host B's namespace by itself, where its network is.
func (m *mover) receiveOnLoopback(state string) (receive *side, address string) {
	m.t.Helper()
	args := m.destination().Args()
	program := filepath.Join(m.t.TempDir(), "qemu")
	script := "#!/bin/sh\nexec ip netns exec " + m.pair.Link.Namespace(link.HostB) + " " + args[0] + ` "$@"` + "\n"
	if err := os.WriteFile(program, []byte(script), 0o700); err != nil {
		m.t.Fatal(err)
	}
	address = m.freePort()
	line := []string{
		"receive", "--json", "--listen", address, "--state-dir", state, "--tls-dir", m.tls[link.HostB],
		"--cache-size", "16MiB", "--", program,
	}
	receive = m.runHere(append(line, args[1:]...)...)
	if !receive.waitFor("it listens", func(e migrate.Event) bool { return strings.HasPrefix(e.Message, "waiting for") }) {
		m.t.Fatalf("receive does not listen:\n%s", receive.stderr.String())
	}
	return receive, address
}

// freePort returns an address on which nobody listens.
func (m *mover) freePort() string {
	m.t.Helper()
	c, err := net.ListenPacket("udp4", loopback+":0")
	if err != nil {
		m.t.Fatal(err)
	}
	defer c.Close()
	return c.LocalAddr().String()
}

// hostileSource links to a receive and sends frames. The link ends with the
// test.
func (m *mover) hostileSource(address string, frames []appender) *quictransport.Link {
	m.t.Helper()
	hello := wire.Hello{Epoch: 1, Name: m.pair.Name}
	for _, id := range [][]byte{hello.VM[:], hello.Session[:]} {
		if _, err := rand.Read(id); err != nil {
			m.t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(m.ctx, 10*time.Second)
	defer cancel()
	l, _, err := quictransport.DialLink(ctx, address, m.load(link.HostA), quictransport.Config{}, hello)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { l.Close(wire.CodeDone, "the test is over") })
	for _, f := range frames {
		_, _ = l.Control().Write(f.Append(nil)) // it may have closed the link
		if _, ends := f.(cut); ends {
			_ = l.CloseGracefully(m.ctx) // the other side may have closed it
		}
	}
	return l
}
