package qmp

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestExecute(t *testing.T) {
	t.Parallel()
	c := dial(t, listen(t, func(p *peer) { p.negotiate(); p.echo() }))
	var wait sync.WaitGroup
	for i := range 50 {
		wait.Go(func() {
			name := strings.Repeat("x", i+1)
			var got string
			if err := c.Execute(t.Context(), name, map[string]int{"i": i}, &got); err != nil || got != name {
				t.Errorf("answer %q, %v to %q", got, err, name)
			}
		})
	}
	wait.Wait()
}

func TestExecuteRefused(t *testing.T) {
	t.Parallel()
	c := dial(t, listen(t, func(p *peer) {
		p.negotiate()
		a, _ := p.hear()
		p.say(`{"id": %d, "error": {"class": "DeviceNotFound", "desc": "no device x"}}`, a.ID)
		p.untilClosed()
	}))
	err := c.Execute(t.Context(), "query-x", nil, nil)
	var refused *CommandError
	if !errors.As(err, &refused) || refused.Class != "DeviceNotFound" {
		t.Fatalf("error %v, want a *CommandError", err)
	}
	wantText(t, err, "execute query-x: no device x")
}

func TestExecuteDropsLateAnswers(t *testing.T) {
	t.Parallel()
	second := make(chan struct{})
	c := dial(t, listen(t, func(p *peer) {
		p.negotiate()
		first, _ := p.hear()
		<-second
		other, _ := p.hear()
		p.say(`{"return": "late", "id": %d}`, first.ID)
		p.say(`{"return": "never asked", "id": 999}`)
		p.say(`{"return": "right", "id": %d}`, other.ID)
		p.untilClosed()
	}))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	err := c.Execute(ctx, "slow", nil, nil)
	if !errors.Is(err, ErrNoAnswer) || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("error %v, want ErrNoAnswer", err)
	}
	close(second)
	var got string
	if err := c.Execute(t.Context(), "next", nil, &got); err != nil || got != "right" {
		t.Errorf("answer %q, %v", got, err)
	}
}

func TestExecuteBoundsUnansweredCommands(t *testing.T) {
	t.Parallel()
	c := dial(t, listen(t, func(p *peer) { p.negotiate(); p.untilClosed() }))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range maxPending {
		if err := c.Execute(ctx, "x", nil, nil); err == nil {
			t.Fatal("answered")
		}
	}
	hung, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	for range maxPending + 1 {
		if err := c.Execute(hung, "x", nil, nil); err == nil {
			t.Fatal("answered")
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.pending) > maxPending {
		t.Errorf("%d commands pending", len(c.pending))
	}
}

func TestExecuteFD(t *testing.T) {
	t.Parallel()
	got := make(chan string, 1)
	c := dial(t, listen(t, func(p *peer) {
		p.negotiate()
		line, control := make([]byte, 512), make([]byte, 64)
		_, n, _, _, err := p.conn.ReadMsgUnix(line, control)
		if err != nil {
			got <- err.Error()
			return
		}
		messages, err := unix.ParseSocketControlMessage(control[:n])
		if err != nil || len(messages) != 1 {
			got <- "no control message"
			return
		}
		fds, err := unix.ParseUnixRights(&messages[0])
		if err != nil {
			got <- err.Error()
			return
		}
		f := os.NewFile(uintptr(fds[0]), "passed")
		defer f.Close()
		text := make([]byte, 5)
		_, _ = f.ReadAt(text, 0)
		got <- string(text)
		p.say(`{"return": {}, "id": 2}`)
		p.untilClosed()
	}))
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("hello"); err != nil {
		t.Fatal(err)
	}
	if err := c.ExecuteFD(t.Context(), "getfd", map[string]string{"fdname": "x"}, int(f.Fd())); err != nil {
		t.Error(err)
	}
	if text := <-got; text != "hello" {
		t.Errorf("passed descriptor reads %q", text)
	}
	if err := c.ExecuteFD(t.Context(), "getfd", nil, -1); err == nil {
		t.Error("descriptor -1 was passed")
	}
}

func TestConnectionEnds(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		last string
		text string
	}{
		"end of file":       {"", "QEMU closed it"},
		"garbage":           {"garbage\n", "breaks the protocol"},
		"cut line":          {`{"return"`, "unexpected EOF"},
		"error without id":  {`{"error": {"class": "GenericError", "desc": "JSON parse error"}}` + "\n", "JSON parse error"},
		"oversized message": {strings.Repeat("x", maxMessage+1<<17), "longer than"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := dial(t, listen(t, func(p *peer) {
				p.negotiate()
				p.hear()
				_, _ = p.conn.Write([]byte(tc.last))
			}))
			s := c.Subscribe(1)
			wantText(t, c.Execute(t.Context(), "x", nil, nil), tc.text)
			<-c.Done()
			if _, ok := next(t, s); ok {
				t.Error("the subscription goes on")
			}
			wantText(t, s.Err(), tc.text)
			wantText(t, c.Execute(t.Context(), "y", nil, nil), tc.text)
			wantText(t, c.Settle(t.Context()), tc.text)
			if _, ok := next(t, c.Subscribe(1)); ok {
				t.Error("a subscription to a dead monitor lives")
			}
		})
	}
}

func TestCloseReleasesEverybody(t *testing.T) {
	t.Parallel()
	heard := make(chan struct{})
	c := dial(t, listen(t, func(p *peer) { p.negotiate(); p.hear(); close(heard); p.untilClosed() }))
	result := make(chan error, 1)
	go func() { result <- c.Execute(t.Context(), "x", nil, nil) }()
	<-heard
	for range 2 {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := <-result; !errors.Is(err, net.ErrClosed) {
		t.Errorf("error %v, want net.ErrClosed", err)
	}
}
