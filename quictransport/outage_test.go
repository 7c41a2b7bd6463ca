package quictransport

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/lazymig/lazymig/internal/wire"
)

// deadPeerLimit is what the operator is promised, plus what a loaded machine
// may add to timers.
const deadPeerLimit = 2*time.Second + 300*time.Millisecond

func TestDeadPeerAndRedial(t *testing.T) {
	l := listenOn(t, insecure(t), Config{})
	r := newRelay(t, l.Addr())
	addr, id, hello := r.front.LocalAddr().String(), insecure(t), testHello()
	source, destination := linkUp(t, l, addr, id, Config{Bulk: 2}, hello)
	echo(t, source.Control(), destination.Control(), "alive")
	waitForKeepAlive(t, source)

	r.cut.Store(true)
	cut := time.Now()
	for name, link := range map[string]*Link{"source": source, "destination": destination} {
		wait(t, name, link.Done())
		d := time.Since(cut)
		t.Logf("%s noticed after %s", name, d)
		if d > deadPeerLimit {
			t.Errorf("%s: more than %s", name, deadPeerLimit)
		}
		if !errors.Is(link.Err(), ErrPeerGone) {
			t.Errorf("%s: %v", name, link.Err())
		}
	}

	ctx := testContext(t)
	ch := acceptOne(ctx, l, welcomeAll)
	redialer := &Redialer{Addr: addr, Identity: id, Config: Config{Bulk: 2}, Failed: func(n int, err error) {
		t.Logf("attempt %d: %v", n, err)
		if !errors.Is(err, ErrNoAnswer) {
			t.Errorf("attempt %d: %v", n, err)
		}
		r.cut.Store(false)
	}}
	again, _, err := redialer.Dial(ctx, hello)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close(wire.CodeDone, "")
	a := <-ch
	if a.err != nil || a.hello.Session != hello.Session {
		t.Fatalf("%+v, %v", a.hello, a.err)
	}
	echo(t, again.Control(), a.link.Control(), "back")
}

// waitForKeepAlive returns right behind a keep-alive of a link that is idle
// otherwise: a cut is noticed latest then, because the next packet that needs
// an answer is the next keep-alive.
func waitForKeepAlive(t *testing.T, l *Link) {
	t.Helper()
	const tick = 20 * time.Millisecond
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	// quiet waits until nothing was received for n ticks.
	quiet := func(n int) uint64 {
		before := l.BytesReceived()
		for still := 0; still < n; still++ {
			<-ticker.C
			if now := l.BytesReceived(); now != before {
				before, still = now, 0
			}
		}
		return before
	}
	before := quiet(10)
	for end := time.Now().Add(patience); l.BytesReceived() == before; {
		if <-ticker.C; time.Now().After(end) {
			t.Fatal("no keep-alive came")
		}
	}
	quiet(3)
}

// TestNewLinkReplacesOld dials a second time while the listener still believes
// in the first link.
func TestNewLinkReplacesOld(t *testing.T) {
	l := listenOn(t, insecure(t), Config{})
	addr, id, hello := l.Addr().String(), insecure(t), testHello()
	oldSource, oldDestination := linkUp(t, l, addr, id, Config{}, hello)
	source, destination := linkUp(t, l, addr, id, Config{}, hello)
	for name, link := range map[string]*Link{"source": oldSource, "destination": oldDestination} {
		wait(t, name, link.Done())
		if !errors.Is(link.Err(), ErrReplaced) {
			t.Errorf("%s: %v", name, link.Err())
		}
	}
	echo(t, source.Control(), destination.Control(), "new")

	// Another host has no say in this session.
	_, other := linkUp(t, l, addr, insecure(t), Config{}, hello)
	echo(t, source.Control(), destination.Control(), "still there")
	if other.Err() != nil || destination.Err() != nil {
		t.Errorf("ended: %v, %v", other.Err(), destination.Err())
	}
}

func TestRedialerGivesUp(t *testing.T) {
	l := listenOn(t, insecure(t), Config{})
	ctx := testContext(t)
	go func() {
		_, _, _ = l.Accept(ctx, func(wire.Hello, string) (wire.Welcome, error) {
			return wire.Welcome{}, &RefusedError{Code: wire.CodeEngine, Text: "unknown session", Hint: "look"}
		})
	}()
	r := &Redialer{Addr: l.Addr().String(), Identity: insecure(t)}
	_, _, err := r.Dial(ctx, testHello())
	if e, ok := errors.AsType[*RefusedError](err); !ok || e.Code != wire.CodeEngine {
		t.Errorf("refused for good: got %v", err)
	}

	attempts := 0
	cause := errors.New("cancelled by the operator")
	ending, cancel := context.WithCancelCause(ctx)
	r = &Redialer{Addr: closedPort(t), Identity: insecure(t), Failed: func(n int, _ error) {
		if attempts = n; n == 3 {
			cancel(cause)
		}
	}}
	_, _, err = r.Dial(ending, testHello())
	if !errors.Is(err, cause) || !errors.Is(err, ErrPortClosed) || attempts != 3 {
		t.Errorf("after %d attempts: %v", attempts, err)
	}

	r = &Redialer{Addr: "192.0.2.1:7", Identity: insecure(t)}
	if _, _, err := r.Dial(ctx, testHello()); !errors.Is(err, ErrNotLoopback) {
		t.Errorf("not loopback: got %v", err)
	}
}

func TestPause(t *testing.T) {
	for attempt := 1; attempt < 100; attempt++ {
		low, high := pause(attempt, 0), pause(attempt, 1)
		if low < redialMin || high > redialMax || low > high {
			t.Fatalf("attempt %d: %s to %s", attempt, low, high)
		}
	}
	if pause(1, 0) != redialMin || pause(50, 1) != redialMax || pause(2, 0) != 2*redialMin {
		t.Errorf("first %s, second %s, last %s", pause(1, 0), pause(2, 0), pause(50, 1))
	}
}
