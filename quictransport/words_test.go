package quictransport

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/lazymig/lazymig/internal/wire"
)

// closedPort returns an address on which nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.LocalAddr().String()
}

// dialFails dials and checks the error, and that it offers a hint.
func dialFails(t *testing.T, addr string, id *Identity, cfg Config, want error, says string) error {
	t.Helper()
	_, _, err := DialLink(testContext(t), addr, id, cfg, testHello())
	if !errors.Is(err, want) || !strings.Contains(err.Error(), says) || hintOf(err) == "" {
		t.Errorf("got %v (hint %q), want %q", err, hintOf(err), says)
	}
	return err
}

func TestWrongCA(t *testing.T) {
	reports := make(rejections, 10)
	l := listenOn(t, newIdentities(t, "d")["d"], Config{Rejected: reports.add})
	dialFails(t, l.Addr().String(), newIdentities(t, "s")["s"], Config{}, ErrWrongCA, "not issued by this side's CA")
	reports.expect(t, ErrRejected)
}

// TestUnknownClient has a source that trusts the destination, but not the
// other way round: the destination tells it why.
func TestUnknownClient(t *testing.T) {
	reports := make(rejections, 10)
	ids, other := newIdentities(t, "d", "s"), newIdentities(t, "s")["s"]
	l := listenOn(t, ids["d"], Config{Rejected: reports.add})
	ids["s"].certificate = other.certificate
	dialFails(t, l.Addr().String(), ids["s"], Config{}, ErrRejected, "does not know the CA")
	reports.expect(t, ErrWrongCA)
}

func TestExpiredPeers(t *testing.T) {
	past := time.Now().Add(-48 * time.Hour)
	ca := newCA(t, past)
	old := issueAt(t, ca, past, "s", "d")
	fresh := issueAt(t, ca, time.Now(), "s", "d")
	early := issueAt(t, ca, time.Now().Add(time.Hour), "d")

	reports := make(rejections, 10)
	l := listenOn(t, fresh["d"], Config{Rejected: reports.add})
	dialFails(t, l.Addr().String(), old["s"], Config{}, ErrExpired, "this side's certificate has expired")
	reports.expect(t, ErrExpired)

	l = listenOn(t, old["d"], Config{})
	dialFails(t, l.Addr().String(), fresh["s"], Config{}, ErrExpired, "the other side's certificate has expired")
	l = listenOn(t, early["d"], Config{})
	dialFails(t, l.Addr().String(), fresh["s"], Config{}, ErrNotYetValid, "valid only from")
}

func TestPeerName(t *testing.T) {
	ids := newIdentities(t, "a", "b")
	reports := make(rejections, 10)
	l := listenOn(t, ids["b"], Config{Peer: "c", Rejected: reports.add})
	dialFails(t, l.Addr().String(), ids["a"], Config{}, ErrRejected, "does not accept this side's certificate")
	reports.expect(t, ErrPeerName)
	dialFails(t, l.Addr().String(), ids["a"], Config{Peer: "c"}, ErrPeerName, `the other side is "b", not "c"`)
}

func TestOtherDomainKey(t *testing.T) {
	ids := newIdentities(t, "s", "d")
	ids["s"].DomainKey[7] ^= 1
	reports := make(rejections, 10)
	l := listenOn(t, ids["d"], Config{Rejected: reports.add})
	err := dialFails(t, l.Addr().String(), ids["s"], Config{}, ErrDomainKey, "different domain keys")
	if e, ok := errors.AsType[*RefusedError](err); !ok || e.Code != wire.CodeKey || e.Hint == "" || e.Temporary() {
		t.Errorf("got %+v", e)
	}
	reports.expect(t, ErrDomainKey)
}

func TestOtherPurpose(t *testing.T) {
	reports := make(rejections, 10)
	l := listenOn(t, insecure(t), Config{Rejected: reports.add})
	err := dialFails(t, l.Addr().String(), insecure(t), Config{Purpose: wire.PurposeMemory}, ErrRefused, `of purpose "migration", not "memory"`)
	if e, ok := errors.AsType[*RefusedError](err); !ok || e.Code != wire.CodeEngine || e.Temporary() {
		t.Errorf("got %+v", e)
	}
	reports.expect(t, ErrRefused)
	l = listenOn(t, insecure(t), Config{Purpose: wire.PurposeMemory})
	linkUp(t, l, l.Addr().String(), insecure(t), Config{Purpose: wire.PurposeMemory}, testHello())
}

func TestOnlyOneSideInsecure(t *testing.T) {
	l := listenOn(t, insecure(t), Config{})
	dialFails(t, l.Addr().String(), newIdentities(t, "s")["s"], Config{}, ErrWrongCA, "not issued")
	l = listenOn(t, newIdentities(t, "d")["d"], Config{})
	dialFails(t, l.Addr().String(), insecure(t), Config{}, ErrRejected, "does not know the CA")
}

func TestRefusedByCallback(t *testing.T) {
	l := listenOn(t, insecure(t), Config{})
	ctx := testContext(t)
	answers := []error{
		&RefusedError{Code: wire.CodeEngine + 1, Text: "another VM", Hint: "use --vm"},
		errors.New("disk is full"),
		nil,
	}
	ch := acceptOne(ctx, l, func(h wire.Hello, _ string) (wire.Welcome, error) {
		err := answers[0]
		answers = answers[1:]
		return wire.Welcome{Epoch: h.Epoch}, err
	})
	id, addr := insecure(t), l.Addr().String()
	err := dialFails(t, addr, id, Config{Bulk: 2}, ErrRefused, "refused: another VM")
	if e, ok := errors.AsType[*RefusedError](err); !ok || e.Code != wire.CodeEngine+1 || e.Hint != "use --vm" || hintOf(err) != "use --vm" {
		t.Errorf("got %+v", e)
	}
	dialFails(t, addr, id, Config{Bulk: 2}, ErrRefused, "disk is full")
	source, _, err := DialLink(ctx, addr, id, Config{Bulk: 2}, testHello())
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close(wire.CodeDone, "")
	if a := <-ch; a.err != nil {
		t.Error(a.err)
	}
}

func TestClosedPort(t *testing.T) {
	start := time.Now()
	dialFails(t, closedPort(t), insecure(t), Config{}, ErrPortClosed, "nobody listens")
	if d := time.Since(start); d > handshakeIdle {
		t.Errorf("took %s, as long as no answer at all", d)
	}
}

func TestNoAnswer(t *testing.T) {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	dialFails(t, c.LocalAddr().String(), insecure(t), Config{}, ErrNoAnswer, "no answer")
}

// TestNoWelcome has a destination that takes links and never accepts them.
func TestNoWelcome(t *testing.T) {
	l := listenOn(t, insecure(t), Config{})
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	_, _, err := DialLink(ctx, l.Addr().String(), insecure(t), Config{}, testHello())
	if !errors.Is(err, ErrNoAnswer) || !strings.Contains(err.Error(), "said nothing") {
		t.Errorf("got %v", err)
	}
}

func TestOtherProtocolServer(t *testing.T) {
	id := insecure(t)
	conf := id.serverTLS("")
	conf.NextProtos = []string{"h3", "lazymig/2"}
	dialFails(t, listenRaw(t, conf, nil).Addr().String(), id, Config{}, ErrProtocol, "does not speak lazymig/1")
}

func TestOtherProtocolClient(t *testing.T) {
	reports := make(rejections, 10)
	l := listenOn(t, insecure(t), Config{Rejected: reports.add})
	conf := insecure(t).clientTLS("")
	conf.NextProtos = []string{"h3"}
	if _, err := quic.DialAddr(testContext(t), l.Addr().String(), conf, nil); err == nil {
		t.Error("a client of another protocol got in")
	}
	reports.expect(t, ErrProtocol)
}

func TestBadConfiguration(t *testing.T) {
	id := insecure(t)
	ctx := testContext(t)
	for name, dial := range map[string]func() error{
		"bulk": func() error {
			_, _, err := DialLink(ctx, "127.0.0.1:1", id, Config{Bulk: MaxBulk + 1}, testHello())
			return err
		},
		"session": func() error {
			_, _, err := DialLink(ctx, "127.0.0.1:1", id, Config{}, wire.Hello{})
			return err
		},
		"name": func() error {
			h := testHello()
			h.Name = strings.Repeat("x", wire.MaxName+1)
			_, _, err := DialLink(ctx, "127.0.0.1:1", id, Config{}, h)
			return err
		},
		"no port": func() error {
			_, _, err := DialLink(ctx, "127.0.0.1", id, Config{}, testHello())
			return err
		},
		"port": func() error {
			_, err := Listen("127.0.0.1:70000", id, Config{})
			return err
		},
	} {
		if err := dial(); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestInsecureMeansLoopback(t *testing.T) {
	id := insecure(t)
	for _, addr := range []string{":0", "0.0.0.0:0", "[::]:0", "192.0.2.1:0"} {
		if l, err := Listen(addr, id, Config{}); !errors.Is(err, ErrNotLoopback) || hintOf(err) == "" {
			t.Errorf("listen on %s: %v", addr, err)
			if err == nil {
				l.Close()
			}
		}
		dialFails(t, addr, id, Config{}, ErrNotLoopback, "not a loopback address")
	}
	// The check of each connection, with an address that no test can have.
	reports := make(rejections, 10)
	l := listenOn(t, id, Config{Rejected: reports.add})
	check := l.checkAddress(quicConfig(2))
	if _, err := check(&quic.ClientInfo{RemoteAddr: &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 7}}); !errors.Is(err, ErrNotLoopback) {
		t.Errorf("a peer on another host: %v", err)
	}
	reports.expect(t, ErrNotLoopback)
	if _, err := check(&quic.ClientInfo{RemoteAddr: &net.UDPAddr{IP: net.IPv6loopback, Port: 7}}); err != nil {
		t.Errorf("a peer on this host: %v", err)
	}
}

func TestListenOnAllAddresses(t *testing.T) {
	ids := newIdentities(t, "s", "d")
	l, err := Listen(":0", ids["d"], Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	linkUp(t, l, "localhost:"+port, ids["s"], Config{}, testHello())
}
