package qemu

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lazymig/lazymig/internal/vmm"
	"github.com/lazymig/lazymig/internal/vmm/qmp"
)

// fakeQEMU is a scripted monitor. Its process is the test itself, so nothing
// here may come to the point where the VMM is sent a signal.
type fakeQEMU struct {
	path    string
	mu      sync.Mutex
	answers map[string]string // by command, or by command and the name of a property or path
	extra   map[string][]string
}

// answersOf is a QEMU with private RAM and nothing special.
func answersOf() map[string]string {
	return map[string]string{
		"qmp_capabilities":         `{}`,
		"query-version":            `{"qemu": {"major": 9, "minor": 1, "micro": 0}, "package": ""}`,
		"query-name":               `{}`,
		"query-target":             `{"arch": "x86_64"}`,
		"query-status":             `{"status": "running", "running": true}`,
		"query-memdev":             `[{"id": "pc.ram", "size": 134217728, "share": false}]`,
		"x-query-ramblock":         `{"human-readable-text": "pc.ram 4 KiB 0x0 0x8000000 0x8000000\n"}`,
		"query-cpus-fast":          fmt.Sprintf(`[{"cpu-index": 0, "qom-path": "/cpu", "thread-id": %d}]`, os.Getpid()),
		"query-block":              `[]`,
		"query-memory-devices":     `[]`,
		"query-migrate":            `{}`,
		"query-migrate-parameters": `{"tls-creds": ""}`,
		"query-migrate-capabilities": `[{"capability": "events", "state": false}, {"capability": "x-ignore-shared", "state": false},
			{"capability": "pause-before-switchover", "state": false}]`,
		"migrate-set-capabilities":          `{}`,
		"human-monitor-command":             `""`,
		"qom-list /machine/peripheral":      `[{"name": "type", "type": "string"}]`,
		"qom-list /machine/peripheral-anon": `[{"name": "type", "type": "string"}]`,
		"qom-get type":                      `"some-type"`,
		"qom-get feature-words":             `[]`,
	}
}

// startFake serves a monitor until the end of the test. The answer
// "hang" is none at all, "unknown" is that of a QEMU without the command.
func startFake(t *testing.T, answers map[string]string) *fakeQEMU {
	t.Helper()
	f := &fakeQEMU{path: filepath.Join(shortDir(t), "f"), answers: answersOf(), extra: make(map[string][]string)}
	for command, answer := range answers {
		f.answers[command] = answer
	}
	l, err := net.Listen("unix", f.path)
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			f.serve(conn)
			conn.Close()
		}
	})
	t.Cleanup(func() { l.Close(); served.Wait() })
	return f
}

// serve answers the commands of one client.
func (f *fakeQEMU) serve(conn net.Conn) {
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(conn, format+"\n", args...) }
	say(`{"QMP": {}}`)
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		var c struct {
			Execute   string
			Arguments struct{ Path, Property string }
			ID        uint64
		}
		if json.Unmarshal(lines.Bytes(), &c) != nil {
			return
		}
		answer, extra := f.answer(c.Execute, c.Arguments.Path, c.Arguments.Property)
		switch answer {
		case "hang":
		case "unknown":
			say(`{"error": {"class": "CommandNotFound", "desc": "no %s"}, "id": %d}`, c.Execute, c.ID)
		case "":
			say(`{"error": {"class": "GenericError", "desc": "no %s"}, "id": %d}`, c.Execute, c.ID)
		default:
			say(`{"return": %s, "id": %d}`, strings.ReplaceAll(answer, "\n", " "), c.ID)
		}
		for _, line := range extra {
			say("%s", line)
		}
	}
}

func (f *fakeQEMU) answer(command, path, property string) (string, []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, key := range []string{command, command + " " + path, command + " " + property} {
		if a, ok := f.answers[key]; ok {
			return a, f.extra[key]
		}
	}
	return "", nil
}

// change replaces an answer; the lines of extra are said behind it.
func (f *fakeQEMU) change(command, answer string, extra ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answers[command], f.extra[command] = answer, extra
}

func attachFake(t *testing.T, f *fakeQEMU) *Guest {
	t.Helper()
	g, err := Attach(t.Context(), f.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	return g
}

func TestPreflightOfOddGuests(t *testing.T) {
	t.Parallel()
	const peripheral = "qom-list /machine/peripheral"
	for name, tc := range map[string]struct {
		command, answer string
		check, text     string
	}{
		"VFIO":              {peripheral, `[{"name": "gpu0", "type": "child<vfio-pci>"}]`, "vfio", "vfio-pci gpu0"},
		"VFIO without id":   {"qom-list /machine/peripheral-anon", `[{"name": "device[3]", "type": "child<vfio-pci-nohotplug>"}]`, "vfio", "device[3]"},
		"vhost-user device": {peripheral, `[{"name": "fs", "type": "child<vhost-user-fs-pci>"}]`, "vhost-user", "vhost-user-fs-pci fs"},
		"vhost-user net":    {"human-monitor-command", `"virtio-net-pci.0: index=0,type=nic\r\n \\ n0: index=0,type=vhost-user,fd=10\r\n"`, "vhost-user", "n0: index=0"},
		"vdpa net":          {"human-monitor-command", `"n0: index=0,type=vhost-vdpa,fd=10\r\n"`, "vfio", "vhost-vdpa"},
		"ivshmem":           {peripheral, `[{"name": "s", "type": "child<ivshmem-doorbell>"}]`, "ivshmem", "ivshmem-doorbell s"},
		"blocked":           {"query-migrate", `{"blocked-reasons": ["The device is not migratable", "second"]}`, "migration-blockers", "The device is not migratable, second"},
		"blocked, old QEMU": {"query-migrate", `{"blocked": true}`, "migration-blockers", "no reason"},
		"migrating":         {"query-migrate", `{"status": "postcopy-active"}`, "other-migration", "postcopy-active"},
		"internal error":    {"query-status", `{"status": "internal-error", "running": false}`, "guest-state", "internal-error"},
		"I/O error":         {"query-status", `{"status": "io-error", "running": false}`, "guest-state", "disk error"},
		"asleep":            {"query-status", `{"status": "suspended", "running": true}`, "guest-state", "suspended"},
		"powered off":       {"query-status", `{"status": "shutdown", "running": false}`, "guest-state", "shutdown"},
		"unheard of":        {"query-status", `{"status": "new-state", "running": false}`, "guest-state", "new-state"},
		"arm":               {"query-target", `{"arch": "aarch64"}`, "architecture", "aarch64"},
		"no capability":     {"query-migrate-capabilities", `[{"capability": "events", "state": false}]`, "capabilities", "pause-before-switchover, x-ignore-shared"},
		"large device":      {"x-query-ramblock", `{"human-readable-text": "pc.ram 4 KiB 0x0 0x8000000 0x8000000\nvga.vram 4 KiB 0x0 0x20000000 0x20000000\n"}`, "stream-size", "512 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := attachFake(t, startFake(t, map[string]string{tc.command: tc.answer}))
			checks, err := g.Preflight(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			c := find(t, checks, tc.check)
			if c.Status != vmm.StatusRefused || c.Fix == "" || !strings.Contains(c.Detail, tc.text) {
				t.Errorf("check %+v, want a refusal with %q", c, tc.text)
			}
			for _, other := range checks { // the RAM is private in all of these
				if other.Status == vmm.StatusRefused && other.Name != tc.check && other.Name != "ram pc.ram" {
					t.Errorf("refused as well: %+v", other)
				}
			}
		})
	}
}

// TestDescribeOldQEMU: before 6.2 the RAM blocks were told to people only.
func TestDescribeOldQEMU(t *testing.T) {
	t.Parallel()
	f := startFake(t, map[string]string{
		"x-query-ramblock":      "unknown",
		"human-monitor-command": `"Block Name    PSize\r\n pc.ram 4 KiB 0x0 0x8000000 0x8000000\r\n"`,
	})
	d, err := attachFake(t, f).Describe(t.Context())
	if err != nil || len(d.Blocks) != 1 || len(d.RAM) != 1 {
		t.Errorf("blocks %v, RAM %v, %v", d.Blocks, d.RAM, err)
	}
}

func TestHungMonitor(t *testing.T) {
	t.Parallel()
	short := func(t *testing.T) context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		t.Cleanup(cancel)
		return ctx
	}
	for _, command := range []string{"qmp_capabilities", "query-cpus-fast", "query-migrate-capabilities"} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			f := startFake(t, map[string]string{command: "hang"})
			if _, err := Attach(short(t), f.path); !errors.Is(err, qmp.ErrNoAnswer) {
				t.Errorf("error %v, want ErrNoAnswer", err)
			}
		})
	}
	for name, call := range map[string]func(ctx context.Context, g *Guest) error{
		"describe":  func(ctx context.Context, g *Guest) error { _, err := g.Describe(ctx); return err },
		"preflight": func(ctx context.Context, g *Guest) error { _, err := g.Preflight(ctx); return err },
		"memory":    func(ctx context.Context, g *Guest) error { _, err := g.Memory(ctx); return err },
		"prepare":   func(ctx context.Context, g *Guest) error { return g.Prepare(ctx) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := startFake(t, nil)
			g := attachFake(t, f)
			f.change("query-version", "hang")
			f.change("query-status", "hang")
			if err := call(short(t), g); !errors.Is(err, qmp.ErrNoAnswer) {
				t.Errorf("error %v, want ErrNoAnswer", err)
			}
		})
	}
}

// TestFreezeOfOddMonitors has the monitor misbehave in the middle.
func TestFreezeOfOddMonitors(t *testing.T) {
	t.Parallel()
	const stamp = `{"timestamp": {"seconds": 1, "microseconds": 1}, `
	migration := func(status string) string {
		return stamp + fmt.Sprintf(`"event": "MIGRATION", "data": {"status": %q}}`, status)
	}
	stop := stamp + `"event": "STOP"}`
	storm := make([]string, 3*captureEvents)
	for i := range storm {
		storm[i] = stamp + `"event": "BALLOON_CHANGE", "data": {"actual": 1}}`
	}
	for name, tc := range map[string]struct {
		migrate, proceed string
		events           []string
		want             error
		text             string
	}{
		"hung at migrate":  {"hang", `{}`, nil, qmp.ErrNoAnswer, ""},
		"refused":          {"", `{}`, nil, nil, "no migrate"},
		"nothing happens":  {`{}`, `{}`, nil, context.DeadlineExceeded, ""},
		"hung at continue": {`{}`, "hang", []string{stop, migration("pre-switchover")}, qmp.ErrNoAnswer, ""},
		"fails":            {`{}`, `{}`, []string{migration("setup"), stop, migration("failed")}, nil, "failed: the disk is on fire"},
		"bad event":        {`{}`, `{}`, []string{stamp + `"event": "MIGRATION", "data": 7}`}, nil, "read the event MIGRATION"},
		"resumes":          {`{}`, `{}`, []string{stop, stamp + `"event": "RESUME"}`}, nil, "failed: the disk is on fire"},
		"storm":            {`{}`, "hang", append(append([]string{migration("pre-switchover")}, storm...), migration("failed")), nil, ""},
		"garbage":          {`{}`, `{}`, []string{"garbage"}, qmp.ErrProtocol, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := startFake(t, map[string]string{"getfd": `{}`, "closefd": `{}`, "migrate-continue": tc.proceed})
			g := attachFake(t, f)
			if err := g.Prepare(t.Context()); err != nil {
				t.Fatal(err)
			}
			f.change("migrate", tc.migrate, tc.events...)
			f.change("query-migrate", `{"status": "failed", "error-desc": "the disk is on fire"}`)
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			began := time.Now()
			_, err := g.Freeze(ctx, io.Discard)
			if err == nil || tc.want != nil && !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.text) || time.Since(began) > 5*time.Second {
				t.Errorf("error %v after %v, want %v and %q", err, time.Since(began), tc.want, tc.text)
			}
		})
	}
}
