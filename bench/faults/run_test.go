package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lazymig/lazymig/bench/leftover"
)

// testPages is enough for the background to be at work when touching begins:
// a second's worth of it, with a race detector several.
const testPages = 32 << 10

const roleVariable = "LAZYMIG_TEST_FAULTS"

func TestMain(m *testing.M) {
	role := os.Getenv(roleVariable)
	if role == "" {
		os.Exit(m.Run())
	}
	if err := Child(role, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// self starts this test binary in a role.
func self(ctx context.Context, role string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), roleVariable+"="+role, "GORACE=atexit_sleep_ms=0")
	return cmd
}

// serialHandler builds the serial handler, or says why it cannot be.
func serialHandler(t *testing.T) (path, why string) {
	t.Helper()
	if _, err := exec.LookPath("gcc"); err != nil {
		return "", "there is no C compiler"
	}
	path = filepath.Join(t.TempDir(), "serialhandler")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", path, "../peers/serialhandler")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the serial handler: %v\n%s", err, out)
	}
	return path, ""
}

func TestRun(t *testing.T) {
	if err := allowed(); err != nil {
		t.Skipf("userfaultfd is not permitted here: %v", err)
	}
	path, why := serialHandler(t)
	before := leftover.Take()
	var events []Event
	report, err := Run(t.Context(), Config{
		Settings: []Setting{{Anonymous, 1, Idle}, {Shared, 4, Busy}}, Repeats: 2, Budget: 50 * time.Millisecond, Pages: testPages,
		SerialHandler: path, NoSerial: why, Commit: "test", Command: self,
		Report: func(e Event) { events = append(events, e) },
	})
	if err != nil {
		t.Fatal(err)
	}
	want := len(plan([]Setting{{Anonymous, 1, Idle}, {Shared, 4, Busy}}))
	if why != "" {
		want -= 4
		t.Log("without the serial handler: " + why)
	}
	if len(report.Results) != want {
		t.Errorf("%d results, want %d", len(report.Results), want)
	}
	for _, r := range report.Results {
		t.Logf("%-16s %-9s %2d %s: %+v", r.Handler, r.Memory, r.Threads, r.Load, r.Summary)
		if r.Count == 0 || r.P50 <= 0 || r.P99 < r.P50 || r.Max < r.P99 || r.PerSecond <= 0 || len(r.Curve) == 0 {
			t.Errorf("%+v: %+v", r.Case, r.Summary)
		}
		if limited := r.Handler != Floor && !r.Handler.RoundTrip(); limited != (r.OverLimit > 0) {
			t.Errorf("%+v is %g over the limit", r.Case, r.OverLimit)
		}
	}
	if first, last := events[0], events[len(events)-1]; first.Event != EventStart || first.Total != 2*want ||
		last.Event != EventReport || len(events) != 2+2*want {
		t.Errorf("%d events, from %+v to %s", len(events), first, last.Event)
	}
	if left := before.Since(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestRunRefuses(t *testing.T) {
	for _, c := range []Config{{}, {Command: self}, {Command: self, Report: func(Event) {}, Repeats: -1}, {Command: self, Report: func(Event) {}, Repeats: maxRepeats + 1}} {
		if _, err := Run(t.Context(), c); !errors.Is(err, ErrConfig) {
			t.Errorf("%+v: %v", c.Repeats, err)
		}
	}
}

// TestRunFails has workers that cannot be started, and one that dies.
func TestRunFails(t *testing.T) {
	if err := allowed(); err != nil {
		t.Skipf("userfaultfd is not permitted here: %v", err)
	}
	before := leftover.Take()
	for name, command := range map[string]func(context.Context, string) *exec.Cmd{
		"no such file or directory": func(ctx context.Context, _ string) *exec.Cmd { return exec.CommandContext(ctx, "/nonexistent") },
		"is no role":                func(ctx context.Context, _ string) *exec.Cmd { return self(ctx, "nobody") },
	} {
		_, err := Run(t.Context(), Config{
			Settings: []Setting{{Anonymous, 1, Idle}}, Repeats: 1, Budget: time.Millisecond, Pages: testPages,
			NoSerial: "not wanted", Command: command, Report: func(Event) {},
		})
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, err := Run(ctx, Config{
		Settings: []Setting{{Anonymous, 1, Idle}}, Repeats: 1, Budget: time.Minute, Pages: testPages,
		NoSerial: "not wanted", Command: self, Report: func(Event) { cancel() },
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("a run that was stopped: %v", err)
	}
	if left := before.Since(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}
