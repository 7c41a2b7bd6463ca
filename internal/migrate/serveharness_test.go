package migrate

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/quictransport"
)

// snapshotPages is the size of the tests' memory files: 8 MiB.
const snapshotPages = 2048

// The tests' memory files: data, with a zero page now and then, but a hole in
// the second quarter.
const (
	holeFirst = snapshotPages / 4
	holePages = snapshotPages / 4
)

// writeSnapshot makes a memory file and returns its path and content.
func writeSnapshot(t testing.TB) (path string, content []byte) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "memory")
	file, err := os.Create(path)
	fatal(t, err)
	random := rand.NewChaCha8([32]byte{1})
	content = make([]byte, snapshotPages*lazymig.PageSize)
	for p := range snapshotPages {
		if p >= holeFirst && p < holeFirst+holePages {
			continue
		}
		if p%17 != 0 {
			_, _ = random.Read(page(content, p, 1)) // never fails
		}
		_, err := file.WriteAt(page(content, p, 1), int64(p)*lazymig.PageSize)
		fatal(t, err)
	}
	fatal(t, file.Close())
	return path, content
}

// page returns count pages from the first.
func page(content []byte, first, count int) []byte {
	return content[first*lazymig.PageSize : (first+count)*lazymig.PageSize]
}

// service is a ServeMemory or ServeFaults that runs in this process.
type service struct {
	t      testing.TB
	cancel context.CancelFunc
	done   chan struct{}
	err    error // once done is closed

	mu     sync.Mutex // protects events
	events []ServeEvent
	news   chan struct{}
}

// runService starts one; it has ended when the test has.
func runService(t testing.TB, serve func(context.Context, func(ServeEvent)) error) *service {
	ctx, cancel := context.WithCancel(t.Context())
	s := &service{t: t, cancel: cancel, done: make(chan struct{}), news: make(chan struct{}, 1)}
	go func() {
		defer close(s.done)
		s.err = serve(ctx, s.add)
	}()
	t.Cleanup(func() { _ = s.stop() }) // a test that cares has looked
	return s
}

func (s *service) add(e ServeEvent) {
	s.mu.Lock()
	s.events = append(s.events, e)
	s.mu.Unlock()
	select {
	case s.news <- struct{}{}:
	default:
	}
}

// wait waits for an event that fits and returns it. It stays to be found again.
func (s *service) wait(what string, fits func(ServeEvent) bool) ServeEvent {
	s.t.Helper()
	limit := time.After(30 * time.Second)
	for {
		s.mu.Lock()
		events := s.events
		s.mu.Unlock()
		for _, e := range events {
			if fits(e) {
				return e
			}
		}
		select {
		case <-s.news:
		case <-s.done:
			s.mu.Lock()
			more := len(s.events) > len(events)
			s.mu.Unlock()
			if !more {
				s.t.Fatalf("the service ended without %s: %v; %+v", what, s.err, events)
			}
		case <-limit:
			s.t.Fatalf("no %s in %+v", what, events)
		}
	}
}

func (s *service) waitKind(kind string) ServeEvent {
	s.t.Helper()
	return s.wait(kind, func(e ServeEvent) bool { return e.Event == kind })
}

// detached waits for the end of the service of a VMM.
func (s *service) detached(v *testVMM) Served {
	s.t.Helper()
	e := s.wait("the end of a VMM", func(e ServeEvent) bool { return e.Event == EventDetached && e.PID == v.pid })
	return *e.Served
}

// stop ends the service and returns its error.
func (s *service) stop() error {
	s.t.Helper()
	s.cancel()
	select {
	case <-s.done:
		return s.err
	case <-time.After(30 * time.Second):
		s.t.Error("the service did not end")
		return errors.New("it did not end")
	}
}

func loopback(t testing.TB) *quictransport.Identity {
	t.Helper()
	id, err := quictransport.InsecureLoopback()
	fatal(t, err)
	return id
}

// serveMemory serves a file without identities and returns the address.
func serveMemory(t testing.TB, path, address string) (*service, string) {
	t.Helper()
	return serveMemoryAs(t, ServeMemoryConfig{Listen: address, Memory: path, Identity: loopback(t)})
}

func serveMemoryAs(t testing.TB, cfg ServeMemoryConfig) (*service, string) {
	t.Helper()
	s := runService(t, func(ctx context.Context, report func(ServeEvent)) error {
		cfg.Report = report
		return ServeMemory(ctx, cfg)
	})
	return s, s.waitKind(EventListening).Address
}

// serveFaults serves VMMs, without identities unless cfg has one. It has
// killed what is left of them when the test has ended.
func serveFaults(t testing.TB, cfg ServeFaultsConfig) (*service, string) {
	t.Helper()
	abandon := make(chan struct{})
	if cfg.Abandon == nil {
		cfg.Abandon = abandon
	}
	cfg.Socket = filepath.Join(t.TempDir(), "vmm.socket")
	if cfg.From != "" && cfg.Identity == nil {
		cfg.Identity = loopback(t)
	}
	s := runService(t, func(ctx context.Context, report func(ServeEvent)) error {
		cfg.Report = report
		return ServeFaults(ctx, cfg)
	})
	t.Cleanup(func() { close(abandon) }) // runs before the service is stopped
	s.waitKind(EventListening)
	return s, cfg.Socket
}

// udpRelay stands between a client and a server, and can drop what passes.
type udpRelay struct {
	front *net.UDPConn
	to    *net.UDPAddr
	cut   atomic.Bool
	wait  sync.WaitGroup

	mu    sync.Mutex // protects backs
	backs map[string]*net.UDPConn
}

func relayTo(t testing.TB, address string) *udpRelay {
	t.Helper()
	to, err := net.ResolveUDPAddr("udp4", address)
	fatal(t, err)
	front, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	fatal(t, err)
	r := &udpRelay{front: front, to: to, backs: map[string]*net.UDPConn{}}
	r.wait.Go(r.serve)
	t.Cleanup(func() {
		front.Close()
		r.mu.Lock()
		for _, back := range r.backs {
			back.Close()
		}
		r.mu.Unlock()
		r.wait.Wait()
	})
	return r
}

func (r *udpRelay) address() string { return r.front.LocalAddr().String() }

func (r *udpRelay) serve() {
	buffer := make([]byte, 65536)
	for {
		n, from, err := r.front.ReadFromUDP(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || r.cut.Load() {
			continue
		}
		if back := r.back(from); back != nil {
			_, _ = back.Write(buffer[:n]) // a lost packet is nothing new to QUIC
		}
	}
}

func (r *udpRelay) back(from *net.UDPAddr) *net.UDPConn {
	r.mu.Lock()
	defer r.mu.Unlock()
	if back := r.backs[from.String()]; back != nil {
		return back
	}
	back, err := net.DialUDP("udp4", nil, r.to)
	if err != nil {
		return nil
	}
	r.backs[from.String()] = back
	r.wait.Go(func() {
		buffer := make([]byte, 65536)
		for {
			n, err := back.Read(buffer)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil && !r.cut.Load() {
				_, _ = r.front.WriteToUDP(buffer[:n], from) // likewise
			}
		}
	})
	return back
}
