package relay

import (
	"bytes"
	"errors"
	"math"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a datagram may take on a busy machine.
const patience = 10 * time.Second

func listen(t testing.TB) *net.UDPConn {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func address(conn *net.UDPConn) netip.AddrPort { return conn.LocalAddr().(*net.UDPAddr).AddrPort() }

// echo serves a socket that sends back what comes.
func echo(t testing.TB) netip.AddrPort {
	conn := listen(t)
	var wait sync.WaitGroup
	wait.Go(func() {
		buffer := make([]byte, maxDatagram)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buffer)
			if err != nil {
				return
			}
			_, _ = conn.WriteToUDPAddrPort(buffer[:n], from)
		}
	})
	t.Cleanup(func() {
		conn.Close()
		wait.Wait()
	})
	return address(conn)
}

func start(t testing.TB, cfg Config) *Relay {
	t.Helper()
	r, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func dial(t testing.TB, r *Relay) *net.UDPConn {
	t.Helper()
	conn, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(r.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// round sends text and wants it back.
func round(t testing.TB, conn *net.UDPConn, text []byte) {
	t.Helper()
	if _, err := conn.Write(text); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, maxDatagram)
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	n, err := conn.Read(got)
	if err != nil || !bytes.Equal(got[:n], text) {
		t.Fatalf("%d bytes came back of %d: %v", n, len(text), err)
	}
}

// TestClients sends datagrams of all sizes by several clients at once, each of
// which gets its own back.
func TestClients(t *testing.T) {
	for name, cfg := range map[string]Config{
		"free":    {},
		"batches": {Rate: 200_000_000, Delay: time.Millisecond},
		"singles": {Rate: 19_000_000, Delay: time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			cfg.Server = echo(t)
			r := start(t, cfg)
			var wait sync.WaitGroup
			for client := range 5 {
				conn := dial(t, r)
				wait.Go(func() {
					for size := 1; size < 60_000; size = size*3 + client {
						round(t, conn, bytes.Repeat([]byte{byte(client)}, size))
					}
				})
			}
			wait.Wait()
			if up, down := r.Stats(); up != down || up.Passed == 0 || up.Dropped+up.Lost+up.Cut > 0 {
				t.Errorf("up %+v, down %+v", up, down)
			}
		})
	}
}

// TestBatch sends a batch that the kernel cuts, and wants every datagram whole.
func TestBatch(t *testing.T) {
	server := listen(t)
	r := start(t, Config{Server: address(server), Rate: 1_000_000_000})
	conn := dial(t, r)
	text := make([]byte, 20_300)
	for i := range text {
		text[i] = byte(i / 1000)
	}
	sendOn(conn, datagram{buffer: text, segment: 1000}, netip.AddrPort{})
	if err := server.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, maxDatagram)
	for i := range 21 {
		n, err := server.Read(got)
		if err != nil || n != min(1000, len(text)-1000*i) || got[0] != byte(i) || got[n-1] != byte(i) {
			t.Fatalf("datagram %d has %d bytes of %d: %v", i, n, got[0], err)
		}
	}
	if up, _ := r.Stats(); up != (Stats{Passed: 21, Bytes: 20_300}) {
		t.Errorf("counted %+v", up)
	}
}

// TestDelay checks that a round trip takes two delays at least.
func TestDelay(t *testing.T) {
	const delay = 3 * time.Millisecond
	r := start(t, Config{Server: echo(t), Delay: delay})
	conn := dial(t, r)
	shortest := time.Hour
	for range 20 {
		begun := time.Now()
		round(t, conn, []byte("x"))
		shortest = min(shortest, time.Since(begun))
	}
	if shortest < 2*delay {
		t.Errorf("a round trip took %v over 2 × %v", shortest, delay)
	}
	t.Logf("the shortest round trip over 2 × %v took %v", delay, shortest)
}

// TestBreak cuts the path for a while, and ends other breaks early.
func TestBreak(t *testing.T) {
	r := start(t, Config{Server: echo(t)})
	conn := dial(t, r)
	round(t, conn, []byte("before"))
	whole := r.Break(50 * time.Millisecond)
	if _, err := conn.Write([]byte("lost")); err != nil {
		t.Fatal(err)
	}
	<-whole
	round(t, conn, []byte("after"))
	if up, _ := r.Stats(); up.Cut != 1 || up.Passed != 2 {
		t.Errorf("counted %+v", up)
	}

	long := r.Break(time.Hour)
	again := r.Break(time.Hour)
	<-long // the second has taken its place
	r.Cut()
	<-again
	if _, err := conn.Write([]byte("lost")); err != nil {
		t.Fatal(err)
	}
	for up, _ := r.Stats(); up.Cut != 2; up, _ = r.Stats() {
		<-time.After(time.Millisecond) // until it has come and was lost
	}
	r.Restore()
	round(t, conn, []byte("restored"))
	last := r.Break(time.Hour)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	<-last
	<-r.Break(time.Hour) // of a closed path
}

// TestLoss loses about the part of the datagrams that was asked for.
func TestLoss(t *testing.T) {
	server := listen(t)
	r := start(t, Config{Server: address(server), Loss: 0.5})
	conn := dial(t, r)
	const count = 2000
	for range count {
		if _, err := conn.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		for before := uint64(0); ; { // none may be lost by the kernel
			up, _ := r.Stats()
			if up.Passed+up.Lost > before {
				break
			}
		}
	}
	up, _ := r.Stats()
	for up.Passed+up.Lost < count {
		<-time.After(time.Millisecond)
		up, _ = r.Stats()
	}
	if sigma := math.Sqrt(count) / 2; math.Abs(float64(up.Lost)-count/2) > 6*sigma {
		t.Errorf("%d of %d were lost, want half", up.Lost, count)
	}
}

// TestFlows bounds the clients and forgets those that are silent.
func TestFlows(t *testing.T) {
	r := start(t, Config{Server: echo(t)})
	first := dial(t, r)
	round(t, first, []byte("x"))
	for range maxFlows - 1 {
		round(t, dial(t, r), []byte("x"))
	}
	late := dial(t, r)
	if _, err := late.Write([]byte("one too many")); err != nil {
		t.Fatal(err)
	}
	round(t, first, []byte("behind it")) // so that the late one has come
	r.expire(time.Now())
	if n := r.clients(); n != maxFlows {
		t.Errorf("%d flows, want %d", n, maxFlows)
	}
	r.expire(time.Now().Add(flowIdle + time.Minute))
	round(t, late, []byte("room again"))
	if n := r.clients(); n == 0 || n > 2 {
		t.Errorf("%d flows after the others were silent", n)
	}
}

func (r *Relay) clients() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.flows)
}

// TestServerGone keeps a path open while nobody listens at its end.
func TestServerGone(t *testing.T) {
	server := listen(t)
	r := start(t, Config{Server: address(server)})
	conn := dial(t, r)
	server.Close()
	for range 3 {
		if _, err := conn.Write([]byte("to nobody")); err != nil {
			t.Fatal(err)
		}
	}
	again, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(address(server)))
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	got := make([]byte, 100)
	for {
		if _, err := conn.Write([]byte("to somebody")); err != nil {
			t.Fatal(err)
		}
		if err := again.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if n, err := again.Read(got); err == nil && string(got[:n]) == "to somebody" {
			return
		}
	}
}

func TestConfig(t *testing.T) {
	server := netip.MustParseAddrPort("127.0.0.1:7")
	for _, c := range []Config{
		{},
		{Server: netip.MustParseAddrPort("192.0.2.1:7")},
		{Server: netip.MustParseAddrPort("127.0.0.1:0")},
		{Server: server, Rate: MinRate - 1},
		{Server: server, Delay: -1},
		{Server: server, Delay: MaxDelay + 1},
		{Server: server, Loss: 1},
		{Server: server, Loss: -0.1},
		{Server: server, Loss: math.NaN()},
	} {
		if r, err := Start(c); !errors.Is(err, ErrConfig) {
			t.Errorf("%+v: %v, %v", c, r, err)
		}
	}
}
