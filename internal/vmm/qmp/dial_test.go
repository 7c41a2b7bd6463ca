package qmp

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestDialTellsWhatIsWrong(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		path string
		want error
		text string
	}{
		"no file":         {filepath.Join(dir, "none"), unix.ENOENT, "-qmp unix:PATH"},
		"plain file":      {file, unix.ECONNREFUSED, "nobody listens"},
		"too long":        {strings.Repeat("x", 200), nil, "shorter path"},
		"silent":          {listen(t, (*peer).untilClosed), ErrInUse, "second -qmp"},
		"human monitor":   {listen(t, func(p *peer) { p.say("QEMU 7.2.22 monitor - type 'help'"); p.untilClosed() }), ErrNotQMP, "QEMU 7.2.22"},
		"other JSON":      {listen(t, func(p *peer) { p.say(`{"return": {}}`); p.untilClosed() }), ErrNotQMP, "return"},
		"events alone":    {listen(t, func(p *peer) { p.say(`{"event": "STOP"}`); p.untilClosed() }), ErrInUse, "second -qmp"},
		"half a greeting": {listen(t, func(p *peer) { _, _ = p.conn.Write([]byte(`{"QMP"`)); p.untilClosed() }), ErrNotQMP, "QMP"},
		"endless line":    {listen(t, func(p *peer) { p.say("%s", strings.Repeat("x", 1<<20)) }), ErrNotQMP, "xxx"},
		"hangs up":        {listen(t, func(*peer) {}), ErrNotQMP, "closed the connection"},
		"no negotiation": {listen(t, func(p *peer) {
			p.say(greeting)
			a, _ := p.hear()
			p.say(`{"error": {"class": "CommandNotFound", "desc": "no"}, "id": %d}`, a.ID)
		}), nil, "negotiate"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := Dial(t.Context(), tc.path)
			if err == nil {
				c.Close()
			}
			wantText(t, err, tc.text)
			if tc.want != nil && !errors.Is(err, tc.want) {
				t.Errorf("error %v, want %v", err, tc.want)
			}
		})
	}
}

// TestDialEventFirst: an event for the client before comes first.
func TestDialEventFirst(t *testing.T) {
	t.Parallel()
	c, err := Dial(t.Context(), listen(t, func(p *peer) {
		p.say(`{"event": "NIC_RX_FILTER_CHANGED"}`)
		p.negotiate()
		p.echo()
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Execute(t.Context(), "query-status", nil, nil); err != nil {
		t.Error(err)
	}
}

func TestDialFullBacklogIsInUse(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "m")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: path}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		conn, err := net.Dial("unix", path)
		if err != nil {
			break
		}
		defer conn.Close()
	}
	if _, err := Dial(t.Context(), path); !errors.Is(err, ErrInUse) {
		t.Errorf("error %v, want ErrInUse", err)
	}
}

func TestDialEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err := Dial(ctx, listen(t, (*peer).untilClosed))
	if err == nil || time.Since(began) > time.Second {
		t.Errorf("error %v after %v", err, time.Since(began))
	}
}

func TestPeerPID(t *testing.T) {
	t.Parallel()
	c := dial(t, listen(t, func(p *peer) { p.negotiate(); p.untilClosed() }))
	if c.PeerPID() != os.Getpid() {
		t.Errorf("peer %d, want %d", c.PeerPID(), os.Getpid())
	}
}
