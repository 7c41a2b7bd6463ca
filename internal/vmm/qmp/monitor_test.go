package qmp

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const greeting = `{"QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 7}, "package": ""}, "capabilities": ["oob"]}}`

// asked is one command as the monitor got it.
type asked struct {
	Execute   string          `json:"execute"`
	Arguments json.RawMessage `json:"arguments"`
	ID        uint64          `json:"id"`
}

// listen serves serve on the first connection, in a goroutine that the test
// waits for.
func listen(t *testing.T, serve func(*peer)) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "m")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		serve(&peer{conn: conn.(*net.UnixConn), lines: bufio.NewReader(conn)})
	}()
	t.Cleanup(func() {
		l.Close()
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			t.Error("the scripted monitor did not end")
		}
	})
	return path
}

// peer is the monitor's end of the connection. Its methods do not fail the
// test: what the client sees does.
type peer struct {
	conn  *net.UnixConn
	lines *bufio.Reader
}

func (p *peer) say(format string, args ...any) {
	_, _ = fmt.Fprintf(p.conn, format+"\r\n", args...)
}

func (p *peer) hear() (a asked, ok bool) {
	line, err := p.lines.ReadBytes('\n')
	if err != nil || json.Unmarshal(line, &a) != nil {
		return a, false
	}
	return a, true
}

func (p *peer) answer(id uint64) { p.say(`{"return": {}, "id": %d}`, id) }

// negotiate greets and answers qmp_capabilities.
func (p *peer) negotiate() {
	p.say(greeting)
	if a, ok := p.hear(); ok && a.Execute == "qmp_capabilities" {
		p.answer(a.ID)
	}
}

// untilClosed waits for the client to hang up.
func (p *peer) untilClosed() { _, _ = io.Copy(io.Discard, p.lines) }

// echo answers each command with its own name until the client hangs up.
func (p *peer) echo() {
	for {
		a, ok := p.hear()
		if !ok {
			return
		}
		p.say(`{"return": %q, "id": %d}`, a.Execute, a.ID)
	}
}

func dial(t *testing.T, path string) *Client {
	t.Helper()
	c, err := Dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func next(t *testing.T, s *Subscription) (Event, bool) {
	t.Helper()
	select {
	case e, ok := <-s.Events():
		return e, ok
	case <-time.After(10 * time.Second):
		t.Fatal("no event in 10 s")
		return Event{}, false
	}
}

func wantText(t *testing.T, err error, text string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("error %v, want one with %q", err, text)
	}
}
