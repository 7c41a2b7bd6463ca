package quictransport

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/lazymig/lazymig/internal/wire"
)

// checkAlive links to l as a good peer does, while bad ones are at work.
func checkAlive(t *testing.T, l *Listener) {
	t.Helper()
	source, destination := linkUp(t, l, l.Addr().String(), insecure(t), Config{Bulk: 2}, testHello())
	echo(t, source.Control(), destination.Control(), "good peers get in")
}

// say opens a stream and writes b to it.
func say(t *testing.T, c *quic.Conn, b []byte) *quic.Stream {
	t.Helper()
	s, err := c.OpenStreamSync(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write(b); err != nil {
		t.Fatal(err)
	}
	return s
}

// readRefuse reads the listener's refusal off the stream.
func readRefuse(t *testing.T, s *quic.Stream) wire.Refuse {
	t.Helper()
	typ, payload, err := wire.ReadFrame(s, nil)
	if err != nil || typ != wire.TypeRefuse {
		t.Fatalf("got %s, %v", typ, err)
	}
	f, err := wire.ParseRefuse(payload)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("after the refusal: %v", err)
	}
	return f
}

// closedWith waits for the end of a connection and returns the code.
func closedWith(t *testing.T, c *quic.Conn) wire.Code {
	t.Helper()
	wait(t, "end of the connection", c.Context().Done())
	e, ok := errors.AsType[*quic.ApplicationError](context.Cause(c.Context()))
	if !ok || !e.Remote {
		t.Fatalf("ended by %v", context.Cause(c.Context()))
	}
	return wire.Code(e.ErrorCode)
}

func controlHello(change func(*wire.Hello)) []byte {
	h := testHello()
	h.Role, h.Index, h.Insecure, h.Attempt = wire.RoleControl, 1, true, 77
	change(&h)
	return h.Append(nil)
}

func TestBadFirstFrames(t *testing.T) {
	header := func(t wire.Type, n uint32) []byte {
		return binary.LittleEndian.AppendUint32([]byte{byte(t), 0, 0, 0}, n)
	}
	l := listenOn(t, insecure(t), Config{})
	checks := make(map[string]func(t *testing.T))
	for name, tt := range map[string]struct {
		bytes []byte
		want  wire.Code
	}{
		"garbage":         {[]byte(strings.Repeat("GET / HTTP/1.1\r\n", 10)), wire.CodeMalformed},
		"oversized":       {header(wire.TypeHello, 1<<31), wire.CodeMalformed},
		"unknown type":    {header(200, 8), wire.CodeMalformed},
		"other frame":     {wire.Offer{Document: []byte("{}")}.Append(nil), wire.CodeMalformed},
		"other version":   {controlHello(func(h *wire.Hello) { h.Version = 7 }), wire.CodeVersion},
		"secure":          {controlHello(func(h *wire.Hello) { h.Insecure = false }), wire.CodeInsecure},
		"key check":       {controlHello(func(h *wire.Hello) { h.KeyCheck[3] = 1 }), wire.CodeKey},
		"demand first":    {controlHello(func(h *wire.Hello) { h.Role = wire.RoleDemand }), wire.CodeMalformed},
		"truncated hello": {controlHello(func(*wire.Hello) {})[:50], wire.CodeTimeout},
	} {
		c := rawDial(t, l, insecure(t))
		s := say(t, c, tt.bytes)
		if f := readRefuse(t, s); f.Code != tt.want {
			t.Errorf("%s: refused with %s: %s", name, f.Code, f.Text)
		}
		checks[name] = func(t *testing.T) {
			if got := closedWith(t, c); got != tt.want {
				t.Errorf("closed with %s", got)
			}
		}
	}
	checkAlive(t, l)
	for name, check := range checks {
		t.Run(name, check)
	}
}

func TestVersionNamesBoth(t *testing.T) {
	l := listenOn(t, insecure(t), Config{})
	s := say(t, rawDial(t, l, insecure(t)), controlHello(func(h *wire.Hello) { h.Version = 7 }))
	f := readRefuse(t, s)
	if !strings.Contains(f.Text, "version 1") || !strings.Contains(f.Text, "version 7") || f.Hint == "" {
		t.Errorf("refused with %+v", f)
	}
}

// TestHalfLinks has peers that bring only some parts, or parts that do not fit
// together. None of them becomes a link, and all are gone in bounded time.
func TestHalfLinks(t *testing.T) {
	l := listenOn(t, insecure(t), Config{})
	session := [16]byte{9}
	hello := func(role wire.Role, index uint16, change func(*wire.Hello)) []byte {
		return controlHello(func(h *wire.Hello) {
			h.Session, h.Role, h.Index = session, role, index
			if change != nil {
				change(h)
			}
		})
	}
	checks := make(map[string]func(t *testing.T))
	start := time.Now()
	for name, tt := range map[string]struct {
		streams [][][]byte // by connection
		want    wire.Code
	}{
		"nothing":      {[][][]byte{{}}, wire.CodeTimeout},
		"control only": {[][][]byte{{hello(wire.RoleControl, 1, nil)}}, wire.CodeTimeout},
		"no bulk":      {[][][]byte{{hello(wire.RoleControl, 1, nil), hello(wire.RoleDemand, 0, nil)}}, wire.CodeTimeout},
		"bulk only":    {[][][]byte{{hello(wire.RoleBulk, 0, nil)}}, wire.CodeTimeout},
		"bulk of another session": {[][][]byte{
			{hello(wire.RoleControl, 1, nil), hello(wire.RoleDemand, 0, nil)},
			{hello(wire.RoleBulk, 0, func(h *wire.Hello) { h.Session[0]++ })},
		}, wire.CodeTimeout},
		"bulk of another attempt": {[][][]byte{
			{hello(wire.RoleControl, 1, nil), hello(wire.RoleDemand, 0, nil)},
			{hello(wire.RoleBulk, 0, func(h *wire.Hello) { h.Attempt++ })},
		}, wire.CodeTimeout},
		"demand of another session": {[][][]byte{
			{hello(wire.RoleControl, 1, nil), hello(wire.RoleDemand, 0, func(h *wire.Hello) { h.Session[0]++ })},
		}, wire.CodeMalformed},
		"second control": {[][][]byte{
			{hello(wire.RoleControl, 1, nil), hello(wire.RoleControl, 1, nil)},
		}, wire.CodeMalformed},
		"bulk too many":    {[][][]byte{{hello(wire.RoleBulk, MaxBulk, nil)}}, wire.CodeMalformed},
		"no bulk wanted":   {[][][]byte{{hello(wire.RoleControl, 0, nil), hello(wire.RoleDemand, 0, nil)}}, wire.CodeMalformed},
		"1000 bulk wanted": {[][][]byte{{hello(wire.RoleControl, 1000, nil), hello(wire.RoleDemand, 0, nil)}}, wire.CodeMalformed},
		"bulk twice": {[][][]byte{
			{hello(wire.RoleBulk, 0, nil), hello(wire.RoleRecipe, 0, nil)}, {hello(wire.RoleBulk, 0, nil), hello(wire.RoleRecipe, 0, nil)},
		}, wire.CodeMalformed},
		"recipe of another session": {[][][]byte{
			{hello(wire.RoleBulk, 0, nil), hello(wire.RoleRecipe, 0, func(h *wire.Hello) { h.Session[0]++ })},
		}, wire.CodeMalformed},
		"recipe first": {[][][]byte{{hello(wire.RoleRecipe, 0, nil)}}, wire.CodeMalformed},
	} {
		id := insecure(t)
		var conns []*quic.Conn
		for _, streams := range tt.streams {
			c := rawDial(t, l, id)
			conns = append(conns, c)
			for _, b := range streams {
				say(t, c, b)
			}
		}
		checks[name] = func(t *testing.T) {
			for i, c := range conns {
				if got := closedWith(t, c); got != tt.want {
					t.Errorf("connection %d: closed with %s, want %s", i, got, tt.want)
				}
			}
		}
	}
	checkAlive(t, l)
	for name, check := range checks {
		t.Run(name, check)
	}
	if d, limit := time.Since(start), helloTimeout+linkTimeout+2*closeTimeout; d > limit {
		t.Errorf("the last one was gone after %s, want %s", d, limit)
	}
	checkEmpty(t, l)
}

// checkEmpty checks that the listener holds nothing for peers that are gone.
func checkEmpty(t *testing.T, l *Listener) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.total != 0 || len(l.pending) != 0 || len(l.groups) != 0 {
		t.Errorf("%d connections of %d peers in %d groups are left", l.total, len(l.pending), len(l.groups))
	}
	if n := l.attempts.running.Load(); n != 0 {
		t.Errorf("%d handshakes are left", n)
	}
}

// TestManyIdleConnections has one host open connections that say nothing, more
// than it may. Others get in all the time.
func TestManyIdleConnections(t *testing.T) {
	l := listenOn(t, insecure(t), Config{})
	id := insecure(t)
	var dials sync.WaitGroup
	conns := make([]*quic.Conn, maxPendingOfPeer+6)
	for i := range conns {
		dials.Go(func() { conns[i] = rawDial(t, l, id) })
	}
	dials.Wait()
	checkAlive(t, l)
	codes := map[wire.Code]int{}
	for _, c := range conns {
		codes[closedWith(t, c)]++
	}
	if codes[wire.CodeBusy] == 0 || codes[wire.CodeTimeout] == 0 || codes[wire.CodeBusy]+codes[wire.CodeTimeout] != len(conns) {
		t.Errorf("closed with %v", codes)
	}
}

// TestBadWelcomes has a hostile destination.
func TestBadWelcomes(t *testing.T) {
	id := insecure(t)
	good := func(h wire.Hello) wire.Welcome {
		return wire.Welcome{Session: h.Session, DomainKey: id.DomainKey}
	}
	for name, tt := range map[string]struct {
		answer func(h wire.Hello) []byte
		want   error
	}{
		"garbage":       {func(wire.Hello) []byte { return []byte(strings.Repeat("x", 100)) }, wire.ErrUnknownType},
		"other frame":   {func(wire.Hello) []byte { return wire.Ping{}.Append(nil) }, wire.ErrUnexpected},
		"oversized":     {func(wire.Hello) []byte { return []byte{byte(wire.TypeWelcome), 0, 0, 0, 0, 0, 0, 9} }, wire.ErrMalformed},
		"other session": {func(h wire.Hello) []byte { h.Session[0]++; return good(h).Append(nil) }, wire.ErrMalformed},
		"no domain key": {func(h wire.Hello) []byte { return wire.Welcome{Session: h.Session}.Append(nil) }, wire.ErrMalformed},
		"other version": {func(h wire.Hello) []byte { w := good(h); w.Version = 3; return w.Append(nil) }, ErrVersion},
		"cut and gone":  {func(h wire.Hello) []byte { return good(h).Append(nil)[:20] }, io.ErrUnexpectedEOF},
		"gone":          {func(wire.Hello) []byte { return nil }, ErrProtocol},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := hostileDestination(t, id, tt.answer)
			_, _, err := DialLink(testContext(t), l, id, Config{}, testHello())
			if !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

// hostileDestination accepts connections and answers the first Hello of each
// with what answer returns and the end of the stream.
func hostileDestination(t *testing.T, id *Identity, answer func(wire.Hello) []byte) string {
	t.Helper()
	l := listenRaw(t, id.serverTLS(""), quicConfig(2))
	done := make(chan struct{})
	t.Cleanup(func() { <-done }) // the context of the test ends it
	go func() {
		defer close(done)
		for {
			c, err := l.Accept(t.Context())
			if err != nil {
				return
			}
			s, err := c.AcceptStream(t.Context())
			if err != nil {
				continue
			}
			_, payload, err := wire.ReadFrame(s, nil)
			if err != nil {
				continue
			}
			if h, err := wire.ParseHello(payload); err == nil {
				_, _ = s.Write(answer(h))
			}
			_ = s.Close()
		}
	}()
	return l.Addr().String()
}
