package quictransport

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"go.uber.org/goleak"

	"github.com/lazymig/lazymig/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds what must happen in any case, however slow the machine is.
const patience = 30 * time.Second

// testContext returns a context that ends with the test or when it hangs.
func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func wait(t testing.TB, what string, ch <-chan struct{}) {
	t.Helper()
	select {
	case <-ch:
	case <-time.After(patience):
		t.Fatalf("%s: not within %s", what, patience)
	}
}

// newIdentities returns identities of one CA, in folders of their own.
func newIdentities(t testing.TB, names ...string) map[string]*Identity {
	t.Helper()
	return issueAt(t, newCA(t, time.Now()), time.Now(), names...)
}

func newCA(t testing.TB, at time.Time) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "ca")
	if err := createCA(dir, at); err != nil {
		t.Fatal(err)
	}
	return dir
}

// issueAt issues and loads identities, good for an hour, as if it were another
// time.
func issueAt(t testing.TB, ca string, at time.Time, names ...string) map[string]*Identity {
	t.Helper()
	ids := make(map[string]*Identity)
	for _, name := range names {
		files, err := issue(ca, name, at, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		if err := createFiles(dir, files); err != nil {
			t.Fatal(err)
		}
		copyFiles(t, ca, dir, caCertFile, domainKeyFile)
		if ids[name], err = loadIdentity(dir, at); err != nil {
			t.Fatal(err)
		}
	}
	return ids
}

func copyFiles(t testing.TB, from, to string, names ...string) {
	t.Helper()
	for _, name := range names {
		b, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(to, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func insecure(t testing.TB) *Identity {
	t.Helper()
	id, err := InsecureLoopback()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func listenOn(t testing.TB, id *Identity, cfg Config) *Listener {
	t.Helper()
	l, err := Listen("127.0.0.1:0", id, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("close listener: %v", err)
		}
	})
	return l
}

// listenRaw listens with quic-go alone. The transport is the test's own: that
// of quic.ListenAddr outlives its listener by what is left of its connections.
func listenRaw(t testing.TB, tlsConfig *tls.Config, config *quic.Config) *quic.Listener {
	t.Helper()
	socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	transport := &quic.Transport{Conn: socket}
	t.Cleanup(func() {
		if err := errors.Join(transport.Close(), socket.Close()); err != nil {
			t.Errorf("close transport: %v", err)
		}
	})
	l, err := transport.Listen(tlsConfig, config)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func testHello() wire.Hello {
	h := wire.Hello{Epoch: 3, VM: [16]byte{1}, State: 2, Name: "web-1"}
	rand.Read(h.Session[:])
	return h
}

func welcomeAll(h wire.Hello, _ string) (wire.Welcome, error) {
	return wire.Welcome{State: 5, Epoch: h.Epoch}, nil
}

type accepted struct {
	link  *Link
	hello wire.Hello
	err   error
}

// acceptOne accepts one link in the background.
func acceptOne(ctx context.Context, l *Listener, welcome func(wire.Hello, string) (wire.Welcome, error)) <-chan accepted {
	ch := make(chan accepted, 1)
	go func() {
		link, hello, err := l.Accept(ctx, welcome)
		ch <- accepted{link, hello, err}
	}()
	return ch
}

// linkUp links both identities over addr, which leads to l.
func linkUp(t testing.TB, l *Listener, addr string, id *Identity, cfg Config, hello wire.Hello) (source, destination *Link) {
	t.Helper()
	ctx := testContext(t)
	ch := acceptOne(ctx, l, welcomeAll)
	source, _, err := DialLink(ctx, addr, id, cfg, hello)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { source.Close(wire.CodeDone, "test is over") })
	a := <-ch
	if a.err != nil {
		t.Fatal(a.err)
	}
	return source, a.link
}

// pair returns both ends of a link without identities.
func pair(t testing.TB, cfg Config) (source, destination *Link) {
	t.Helper()
	l := listenOn(t, insecure(t), Config{})
	return linkUp(t, l, l.Addr().String(), insecure(t), cfg, testHello())
}

// rejections collects what a listener reports.
type rejections chan error

func (r rejections) add(_ net.Addr, err error) {
	select {
	case r <- err:
	default:
	}
}

// expect waits for a report that wraps target.
func (r rejections) expect(t *testing.T, target error) {
	t.Helper()
	after := time.After(patience)
	for {
		select {
		case err := <-r:
			if errors.Is(err, target) {
				return
			}
			t.Logf("also reported: %v", err)
		case <-after:
			t.Fatalf("the listener did not report %q", target)
		}
	}
}

func hintOf(err error) string {
	if h, ok := errors.AsType[interface {
		error
		Hint() string
	}](err); ok {
		return h.Hint()
	}
	return ""
}

// relay forwards datagrams between sources and a listener until it is cut.
type relay struct {
	front *net.UDPConn
	to    *net.UDPAddr
	cut   atomic.Bool
	done  chan struct{}
}

func newRelay(t testing.TB, to net.Addr) *relay {
	t.Helper()
	front, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{front: front, to: to.(*net.UDPAddr), done: make(chan struct{})}
	go r.serve()
	t.Cleanup(func() {
		front.Close()
		<-r.done
	})
	return r
}

// serve forwards what comes from sources, each through a socket of its own,
// and ends when front is closed.
func (r *relay) serve() {
	defer close(r.done)
	backs := make(map[string]*net.UDPConn)
	ended := make(chan struct{})
	buf := make([]byte, 1<<16)
	for {
		n, from, err := r.front.ReadFromUDP(buf)
		if err != nil {
			break
		}
		back := backs[from.String()]
		if back == nil {
			if back, err = net.DialUDP("udp4", nil, r.to); err != nil {
				break
			}
			backs[from.String()] = back
			go func() {
				r.answer(back, from)
				ended <- struct{}{}
			}()
		}
		if !r.cut.Load() {
			_, _ = back.Write(buf[:n])
		}
	}
	for _, back := range backs {
		back.Close()
		<-ended
	}
}

func (r *relay) answer(back *net.UDPConn, to *net.UDPAddr) {
	buf := make([]byte, 1<<16)
	for {
		n, err := back.Read(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil && !r.cut.Load() {
			_, _ = r.front.WriteToUDP(buf[:n], to)
		}
	}
}

// rawDial makes a QUIC connection to l that no Link knows of: what a hostile
// peer with a good certificate has.
func rawDial(t testing.TB, l *Listener, id *Identity) *quic.Conn {
	t.Helper()
	d := &dialer{id: id, remote: l.Addr().(*net.UDPAddr)}
	c, err := d.connect(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.close(0, "test is over") })
	return c.Conn
}
