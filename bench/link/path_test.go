package link_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lazymig/lazymig/bench/leftover"
	"github.com/lazymig/lazymig/bench/link"
	"github.com/lazymig/lazymig/bench/prereq"
)

const testTimeout = 2 * time.Minute

func newLink(t *testing.T) (context.Context, *link.Link) {
	t.Helper()
	prereq.Require(t, prereq.Network()...)
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	t.Cleanup(cancel)
	before := leftover.Take()
	l, err := link.New(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if left := before.Since(); len(left) > 0 {
			t.Errorf("left behind: %q", left)
		}
	})
	return ctx, l
}

func setPath(ctx context.Context, t *testing.T, l *link.Link, p link.Path) {
	t.Helper()
	if err := l.SetPath(ctx, p); err != nil {
		t.Fatal(err)
	}
}

// sockets returns a UDP socket on each host.
func sockets(t *testing.T, l *link.Link) (a, b *net.UDPConn) {
	t.Helper()
	open := func(side link.Side) *net.UDPConn {
		var conn *net.UDPConn
		if err := l.Inside(side, func() (err error) {
			conn, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(side.Address())})
			return err
		}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if err := conn.SetReadBuffer(8 << 20); err != nil {
			t.Fatal(err)
		}
		return conn
	}
	return open(link.HostA), open(link.HostB)
}

// stream returns the two ends of a TCP connection between the hosts.
func stream(t *testing.T, l *link.Link) (a, b net.Conn) {
	t.Helper()
	var listener net.Listener
	err := l.Inside(link.HostB, func() (err error) {
		listener, err = net.Listen("tcp4", link.HostB.Address()+":0")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if err := l.Inside(link.HostA, func() (err error) {
		a, err = net.DialTimeout("tcp4", listener.Addr().String(), 20*time.Second)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	if b, err = listener.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return a, b
}

// roundTrips returns how long n small messages took, by UDP, in order.
func roundTrips(t *testing.T, l *link.Link, n int) []time.Duration {
	t.Helper()
	a, b := sockets(t, l)
	go func() {
		buffer := make([]byte, 64)
		for {
			n, from, err := b.ReadFromUDP(buffer)
			if err != nil {
				return
			}
			_, _ = b.WriteToUDP(buffer[:n], from) // its loss shows at the sender
		}
	}()
	message := make([]byte, 64)
	var took []time.Duration
	for range n {
		began := time.Now()
		if err := a.SetDeadline(began.Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := a.WriteToUDP(message, b.LocalAddr().(*net.UDPAddr)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := a.ReadFromUDP(message); err != nil {
			t.Fatal(err)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	return took
}

// tcpRoundTrips is roundTrips by TCP.
func tcpRoundTrips(t *testing.T, l *link.Link, n int) []time.Duration {
	t.Helper()
	a, b := stream(t, l)
	go func() { _, _ = io.Copy(b, b) }() // it ends with the connection
	message := make([]byte, 64)
	var took []time.Duration
	for range n {
		began := time.Now()
		if _, err := a.Write(message); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(a, message); err != nil {
			t.Fatal(err)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	return took
}

// TestPathDelays: no round trip is shorter than it should be, and UDP and TCP
// see the same path. The overhead is logged, for what is said of it.
func TestPathDelays(t *testing.T) {
	ctx, l := newLink(t)
	const n = 100
	plain := roundTrips(t, l, n)
	for _, rtt := range []time.Duration{time.Microsecond, 5 * time.Millisecond, 40 * time.Millisecond} {
		setPath(ctx, t, l, link.Path{RTT: rtt})
		udp, tcp := roundTrips(t, l, n), tcpRoundTrips(t, l, n)
		for name, took := range map[string][]time.Duration{"UDP": udp, "TCP": tcp} {
			if took[0] < rtt {
				t.Errorf("a round trip by %s took %v over a path of %v", name, took[0], rtt)
			}
			if over := took[n/2] - rtt; over > 20*time.Millisecond {
				t.Errorf("the median round trip by %s is %v, over a path of %v", name, took[n/2], rtt)
			}
		}
		t.Logf("path %v: UDP median %v, p99 %v; TCP median %v; plain cable %v; %+v", rtt, udp[n/2], udp[n-2], tcp[n/2], plain[n/2], l.PathStats())
	}
	setPath(ctx, t, l, link.Path{})
	if again := roundTrips(t, l, n); again[n/2] > 20*time.Millisecond {
		t.Errorf("the plain cable is slow again: %v", again[n/2])
	}
}

// burst sends n numbered datagrams from A to B at a moderate rate and returns
// the numbers that came, in the order in which they did.
func burst(t *testing.T, l *link.Link, n int) []uint64 {
	t.Helper()
	a, b := sockets(t, l)
	// ARP first, so that no datagram waits or goes for want of an address.
	if _, err := a.WriteToUDP([]byte("x"), b.LocalAddr().(*net.UDPAddr)); err != nil {
		t.Fatal(err)
	}
	go func() {
		message := make([]byte, 8)
		pace := time.NewTicker(time.Millisecond)
		defer pace.Stop()
		for i := range n {
			binary.LittleEndian.PutUint64(message, uint64(i))
			if i%50 == 0 {
				<-pace.C
			}
			_, _ = a.WriteToUDP(message, b.LocalAddr().(*net.UDPAddr)) // lost, then
		}
	}()
	var came []uint64
	buffer := make([]byte, 64)
	for {
		if err := b.SetReadDeadline(time.Now().Add(2 * time.Second)); err != nil {
			t.Fatal(err)
		}
		got, _, err := b.ReadFromUDP(buffer)
		if err != nil {
			return came
		}
		if got == 8 {
			came = append(came, binary.LittleEndian.Uint64(buffer))
		}
	}
}

// TestPathLoses counts what is lost, and that nothing is overtaken in spite of
// a jitter that is much longer than the time between packets.
func TestPathLoses(t *testing.T) {
	ctx, l := newLink(t)
	const n = 20_000
	for _, p := range []link.Path{{Loss: 0.1, Seed: 7}, {RTT: 4 * time.Millisecond, Jitter: 3 * time.Millisecond, Loss: 0.01, Seed: 8}} {
		setPath(ctx, t, l, p)
		came := burst(t, l, n)
		if !slices.IsSorted(came) {
			t.Errorf("%+v: packets were overtaken", p)
		}
		want := p.Loss * n
		if lost, sigma := float64(n-len(came)), math.Sqrt(want); lost < want-5*sigma || lost > want+5*sigma {
			t.Errorf("%+v: %.0f of %d packets were lost, want about %.0f; %+v", p, lost, n, want, l.PathStats())
		}
		if s := l.PathStats(); s.Dropped > 0 {
			t.Errorf("%+v: %d packets had no room", p, s.Dropped)
		}
	}
	setPath(ctx, t, l, link.Path{Loss: 1})
	if came := burst(t, l, 100); len(came) > 0 {
		t.Errorf("%d packets passed a path that loses all", len(came))
	}
}

// TestPathRate shows that the rate is the limit's also over a path, and that
// the counters count what went over it.
func TestPathRate(t *testing.T) {
	ctx, l := newLink(t)
	const rate, bytes = 200_000_000, 12 << 20
	if err := l.SetRate(ctx, rate); err != nil {
		t.Fatal(err)
	}
	for _, p := range []link.Path{{}, {RTT: 2 * time.Millisecond}} {
		setPath(ctx, t, l, p)
		before, err := l.Counters(link.HostA)
		if err != nil {
			t.Fatal(err)
		}
		a, b := stream(t, l)
		began := time.Now()
		go func() { _, _ = a.Write(make([]byte, bytes)) }() // an error shows at the receiver
		if _, err := io.CopyN(io.Discard, b, bytes); err != nil {
			t.Fatal(err)
		}
		got := bytes / time.Since(began).Seconds()
		after, err := l.Counters(link.HostA)
		if err != nil {
			t.Fatal(err)
		}
		if got > 1.1*rate/8 || got < 0.3*rate/8 {
			t.Errorf("%+v: %.0f bytes/s passed a link of %d bit/s", p, got, rate)
		}
		if sent := after.Sent - before.Sent; sent < bytes || sent > bytes*5/4 {
			t.Errorf("%+v: the counters say %d bytes for %d", p, sent, bytes)
		}
		t.Logf("%+v: %.1f Mbit/s of %d; %+v", p, got*8/1e6, rate/1_000_000, l.PathStats())
	}
}

// TestPathAgainstNetem compares the relay with the kernel's own emulation.
func TestPathAgainstNetem(t *testing.T) {
	ctx, l := newLink(t)
	p := link.Path{RTT: 20 * time.Millisecond, Loss: 0.05, Seed: 3}
	const n = 5000
	if err := netem(ctx, l, p); err != nil {
		t.Skipf("skipped: this kernel has no netem: %v", err)
	}
	kernel := len(burst(t, l, n))
	if err := netem(ctx, l, link.Path{RTT: p.RTT}); err != nil {
		t.Fatal(err)
	}
	delay := roundTrips(t, l, 50)[25]
	setPath(ctx, t, l, p) // a new cable, without netem
	relay := len(burst(t, l, n))
	setPath(ctx, t, l, link.Path{RTT: p.RTT})
	ours := roundTrips(t, l, 50)[25]
	if difference := (ours - delay).Abs(); difference > 10*time.Millisecond {
		t.Errorf("a round trip takes %v by netem, %v by the relay", delay, ours)
	}
	if difference := math.Abs(float64(kernel - relay)); difference > 6*math.Sqrt(2*p.Loss*n) {
		t.Errorf("%d of %d packets pass netem, %d the relay", kernel, n, relay)
	}
}

// netem delays and loses what each end of host B's cable sends.
func netem(ctx context.Context, l *link.Link, p link.Path) error {
	for _, end := range [][2]string{{l.Namespace(link.HostB), link.Uplink}, {l.Namespace(link.Client), "host-b"}} {
		args := fmt.Sprintf("-n %s qdisc replace dev %s root netem limit 10000 delay %dus loss %g%%", end[0], end[1], p.RTT.Microseconds()/2, p.Loss*100)
		if out, err := exec.CommandContext(ctx, "tc", strings.Fields(args)...).CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out)))
		}
	}
	return nil
}

func TestPathRefuses(t *testing.T) {
	l := &link.Link{}
	for _, p := range []link.Path{{Loss: 2}, {Loss: -1}, {RTT: -1}, {Jitter: -1}, {RTT: time.Minute}} {
		if err := l.SetPath(t.Context(), p); err == nil {
			t.Errorf("%+v was accepted", p)
		}
	}
}
