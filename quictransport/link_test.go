package quictransport

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lazymig/lazymig/internal/wire"
)

func echo(t *testing.T, a, b Stream, text string) {
	t.Helper()
	if _, err := io.WriteString(a, text); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(b, got); err != nil || string(got) != text {
		t.Fatalf("got %q, %v", got, err)
	}
}

func TestLink(t *testing.T) {
	ids := newIdentities(t, "source", "destination")
	l := listenOn(t, ids["destination"], Config{Peer: "source"})
	ctx := testContext(t)
	hello := testHello()
	ch := acceptOne(ctx, l, func(h wire.Hello, peer string) (wire.Welcome, error) {
		if peer != "source" || h.Name != hello.Name || h.VM != hello.VM || h.State != hello.State {
			t.Errorf("%q says %+v", peer, h)
		}
		return welcomeAll(h, peer)
	})
	source, welcome, err := DialLink(ctx, l.Addr().String(), ids["source"], Config{Bulk: 3, Peer: "destination"}, hello)
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close(wire.CodeDone, "")
	a := <-ch
	if a.err != nil {
		t.Fatal(a.err)
	}
	destination := a.link
	if welcome.State != 5 || welcome.Epoch != hello.Epoch || welcome.Session != hello.Session || welcome.DomainKey != [32]byte{} {
		t.Errorf("welcome %+v", welcome)
	}
	if a.hello.Session != hello.Session || a.hello.Name != hello.Name {
		t.Errorf("hello %+v", a.hello)
	}
	if source.Peer() != "destination" || destination.Peer() != "source" {
		t.Errorf("peers %q and %q", source.Peer(), destination.Peer())
	}
	if source.RemoteAddr().String() != l.Addr().String() {
		t.Errorf("remote address %s", source.RemoteAddr())
	}
	echo(t, source.Control(), destination.Control(), "control")
	echo(t, destination.Control(), source.Control(), "lortnoc")
	echo(t, destination.Demand(), source.Demand(), "demand")
	if len(source.Bulk()) != 3 || len(destination.Bulk()) != 3 {
		t.Fatalf("%d and %d bulk streams", len(source.Bulk()), len(destination.Bulk()))
	}
	for i := range 3 {
		echo(t, source.Bulk()[i], destination.Bulk()[i], strings.Repeat(string(rune('a'+i)), 5000))
	}
	if smoothed, least := source.RTT(); smoothed <= 0 || least <= 0 || least > smoothed*10 {
		t.Errorf("round trips %s and %s", smoothed, least)
	}
	if source.BytesSent() < 15000 || destination.BytesReceived() < 15000 {
		t.Errorf("%d bytes sent, %d received", source.BytesSent(), destination.BytesReceived())
	}
	if source.Err() != nil || destination.Err() != nil {
		t.Errorf("ended: %v, %v", source.Err(), destination.Err())
	}
}

func TestInsecureLinkCarriesDomainKey(t *testing.T) {
	id := insecure(t)
	l := listenOn(t, id, Config{})
	ctx := testContext(t)
	ch := acceptOne(ctx, l, welcomeAll)
	source, welcome, err := DialLink(ctx, l.Addr().String(), insecure(t), Config{}, testHello())
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close(wire.CodeDone, "")
	if welcome.DomainKey != id.DomainKey {
		t.Error("the welcome has another domain key than the destination")
	}
	if a := <-ch; a.err != nil || a.link.Peer() != loopbackName {
		t.Errorf("accepted %+v", a)
	}
}

func TestCloseReachesTheOtherSide(t *testing.T) {
	source, destination := pair(t, Config{Bulk: 2})
	read := make(chan error, 1)
	go func() {
		_, err := destination.Bulk()[1].Read(make([]byte, 1))
		read <- err
	}()
	source.Close(wire.CodeEngine+3, "the guest is gone")
	source.Close(wire.CodeDone, "again")
	wait(t, "end of the destination's link", destination.Done())
	for _, err := range []error{destination.Err(), <-read} {
		e, ok := errors.AsType[*ClosedError](err)
		if !ok || e.Code != wire.CodeEngine+3 || e.Reason != "the guest is gone" || !e.Remote || !errors.Is(err, net.ErrClosed) {
			t.Errorf("destination: %v", err)
		}
	}
	_, err := source.Control().Write([]byte("x"))
	for _, err := range []error{source.Err(), err} {
		if e, ok := errors.AsType[*ClosedError](err); !ok || e.Remote || e.Code != wire.CodeEngine+3 {
			t.Errorf("source: %v", err)
		}
	}
}

// TestOnePartEndsAll kills one bulk connection below the link.
func TestOnePartEndsAll(t *testing.T) {
	source, destination := pair(t, Config{Bulk: 2})
	_ = source.conns[2].CloseWithError(codeOf(wire.CodeInternal), "pulled")
	wait(t, "end of the source's link", source.Done())
	wait(t, "end of the destination's link", destination.Done())
	if _, err := destination.Control().Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("control stream: %v", err)
	}
	<-source.ended
	for i, c := range source.conns {
		wait(t, "connection", c.Context().Done())
		if _, err := c.socket.Write(nil); !errors.Is(err, net.ErrClosed) {
			t.Errorf("socket %d is open: %v", i, err)
		}
	}
}

func TestStreamDeadline(t *testing.T) {
	source, _ := pair(t, Config{})
	if err := source.Demand().SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := source.Demand().Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if source.Err() != nil {
		t.Errorf("the link ended: %v", source.Err())
	}
}

func TestCloseGracefullyDeliversEverything(t *testing.T) {
	source, destination := pair(t, Config{})
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	var got []byte
	var readErr, closeErr error
	var sides sync.WaitGroup
	sides.Go(func() {
		got, readErr = io.ReadAll(destination.Control())
		closeErr = destination.CloseGracefully(t.Context())
	})
	if _, err := source.Control().Write(data); err != nil {
		t.Fatal(err)
	}
	if err := source.CloseGracefully(t.Context()); err != nil {
		t.Errorf("source: %v", err)
	}
	sides.Wait()
	if readErr != nil || closeErr != nil || !bytes.Equal(got, data) {
		t.Errorf("got %d of %d bytes: %v, %v", len(got), len(data), readErr, closeErr)
	}
}

// TestCloseGracefullyBoth has both sides write and close at the same time,
// each with a reader of its own as an engine has.
func TestCloseGracefullyBoth(t *testing.T) {
	source, destination := pair(t, Config{})
	data := bytes.Repeat([]byte("x"), 50_000)
	var sides sync.WaitGroup
	for _, l := range []*Link{source, destination} {
		sides.Go(func() {
			if _, err := l.Control().Write(data); err != nil {
				t.Error(err)
			}
			if err := l.CloseGracefully(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	sides.Wait()
}

// TestCloseAfterReading is the shortest good end: the reader closes at once.
func TestCloseAfterReading(t *testing.T) {
	for range 5 {
		source, destination := pair(t, Config{Bulk: 3})
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = io.ReadAll(destination.Control())
			destination.Close(wire.CodeDone, "read it all")
		}()
		if _, err := source.Control().Write([]byte("the last word")); err != nil {
			t.Fatal(err)
		}
		if err := source.CloseGracefully(t.Context()); err != nil {
			t.Errorf("source: %v", err)
		}
		<-done
	}
}

func TestCloseGracefullyIsBounded(t *testing.T) {
	source, destination := pair(t, Config{})
	start := time.Now()
	err := source.CloseGracefully(t.Context()) // nobody reads
	if !errors.Is(err, ErrNotConfirmed) {
		t.Errorf("got %v", err)
	}
	if d := time.Since(start); d < closeTimeout || d > 10*closeTimeout {
		t.Errorf("took %s", d)
	}
	wait(t, "end of the destination's link", destination.Done())
	if err := source.CloseGracefully(t.Context()); !errors.Is(err, ErrNotConfirmed) {
		t.Errorf("a second time: %v", err)
	}
}

func TestListenerCloseEndsLinks(t *testing.T) {
	l := listenOn(t, insecure(t), Config{})
	source, destination := linkUp(t, l, l.Addr().String(), insecure(t), Config{}, testHello())
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ch := acceptOne(ctx, l, welcomeAll)
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if a := <-ch; !errors.Is(a.err, net.ErrClosed) {
		t.Errorf("Accept: %v", a.err)
	}
	for name, link := range map[string]*Link{"source": source, "destination": destination} {
		wait(t, name, link.Done())
		if e, ok := errors.AsType[*ClosedError](link.Err()); !ok || e.Code != wire.CodeClosing {
			t.Errorf("%s: %v", name, link.Err())
		}
	}
}

func TestAcceptEndsWithContext(t *testing.T) {
	l := listenOn(t, insecure(t), Config{})
	cause := errors.New("stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	ch := acceptOne(ctx, l, welcomeAll)
	cancel(cause)
	if a := <-ch; !errors.Is(a.err, cause) {
		t.Errorf("got %v", a.err)
	}
}

func TestBulkByPath(t *testing.T) {
	for _, c := range []struct {
		config     Config
		rtt        time.Duration
		processors int
		want       int
	}{
		{Config{}, 0, 1, 1},
		{Config{}, time.Millisecond, 2, 1},
		{Config{}, time.Millisecond, 8, 4},
		{Config{}, time.Millisecond, 128, 8},
		{Config{}, 5 * time.Millisecond, 2, 4},
		{Config{}, 5 * time.Millisecond, 16, 8},
		{Config{}, 50 * time.Millisecond, 2, MaxBulk},
		{Config{Bulk: 3}, 50 * time.Millisecond, 2, 3},
	} {
		if got := c.config.bulk(c.rtt, c.processors); got != c.want {
			t.Errorf("%+v, %v, %d processors: %d bulk connections, want %d", c.config, c.rtt, c.processors, got, c.want)
		}
	}
}
