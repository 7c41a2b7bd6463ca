package paths

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
	"github.com/lazymig/lazymig/bench/prereq"
)

const (
	roleVariable = "LAZYMIG_TEST_PATHS"
	testTimeout  = 3 * time.Minute
)

func TestMain(m *testing.M) {
	role := os.Getenv(roleVariable)
	if role == "" {
		release := leftover.Guard()
		defer release()
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

// start skips the test where it cannot be run.
func start(t *testing.T) context.Context {
	t.Helper()
	prereq.Require(t, prereq.Network()...)
	if err := allowed(); err != nil {
		t.Skipf("skipped: userfaultfd is not permitted here: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	t.Cleanup(cancel)
	return ctx
}

// TestRun measures each kind once, on short links.
func TestRun(t *testing.T) {
	ctx := start(t)
	before := leftover.Take()
	serial, why := serialHandler(t)
	far := Link{RateBits: 200e6, RTTMS: 2, Loss: 0.001}
	cases := []Case{
		on(lan, Floor, 1).busy(), on(lan, RoundTrip, 1), on(lan, OnDemand, 4), on(lan, Beside, 2), on(lan, Drain, 1).ordinary(),
		on(lan, RawQUIC, 1), on(far, Drain, 1), on(far, Reno, 1), on(far, Sweep, 1), on(far, Serial, 1),
	}
	var events []Event
	report, err := Run(ctx, Config{
		Quick: true, Cases: cases, SerialHandler: serial, NoSerial: why, Profiles: t.TempDir(), Commit: "test", Command: self,
		Report: func(e Event) { events = append(events, e) },
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range report.Failed {
		t.Errorf("%s: %s", f.Case, f.Error)
	}
	for _, r := range report.Results {
		t.Logf("%s: p50 %.0f µs, %.1f MB/s", r.Case, r.Stats[P50].Median, r.Stats[Rate].Median/1e6)
		checkStats(t, r)
	}
	want := len(cases) - len(report.Skipped)
	if len(report.Results) != want {
		t.Errorf("%d results, want %d", len(report.Results), want)
	}
	if first, last := events[0], events[len(events)-1]; first.Event != EventStart || first.Total != want || last.Event != EventReport || len(events) != 2+want {
		t.Errorf("%d events, from %+v to %s", len(events), first, last.Event)
	}
	if left := before.Since(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// checkStats looks for the figures that a case must have.
func checkStats(t *testing.T, r Result) {
	t.Helper()
	want := map[Kind][]Figure{
		Floor: {P50, P99, Max, PerSecond}, RoundTrip: {P50, P99, Max}, OnDemand: {P50, Unfairness, WireRate},
		Beside: {P50, Rate, WireRate, Connections}, Drain: {Rate, WholeRate, WireRate, CPU, Connections},
		RawQUIC: {Rate, CPU}, Reno: {Rate, Connections}, Sweep: {P50, PagesPerSecond}, Serial: {P50, PagesPerSecond},
	}
	for _, f := range want[r.Kind] {
		if s := r.Stats[f]; s.Rounds != 1 || s.Median <= 0 || s.Least != s.Median || s.Most != s.Median {
			t.Errorf("%s: %s is %+v", r.Case, f, s)
		}
	}
}

// TestRunRecordsFailures has one measurement that cannot be made beside one
// that can, and then none that can.
func TestRunRecordsFailures(t *testing.T) {
	ctx := start(t)
	before := leftover.Take()
	cfg := Config{
		Quick: true, Cases: []Case{on(lan, Reno, 1), on(lan, Floor, 1)}, NoSerial: "not wanted", Command: self, Report: func(Event) {},
	}
	report, err := Run(ctx, cfg)
	if err != nil || len(report.Failed) != 1 || !strings.Contains(report.Failed[0].Error, "its drain was not measured") || len(report.Results) != 1 {
		t.Errorf("%+v, %v", report, err)
	}
	cfg.Command = func(ctx context.Context, _ string) *exec.Cmd { return self(ctx, "nobody") }
	if _, err = Run(ctx, cfg); err == nil || !strings.Contains(err.Error(), "is no role") {
		t.Errorf("no measurement worked: %v", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cfg.Report = func(Event) { cancel() }
	if _, err = Run(ctx, cfg); !errors.Is(err, context.Canceled) {
		t.Errorf("a run that was stopped: %v", err)
	}
	if left := before.Since(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestRunRefuses(t *testing.T) {
	none := func(Event) {}
	for _, c := range []Config{{}, {Command: self}, {Command: self, Report: none, Rounds: -1}, {Command: self, Report: none, Rounds: maxRounds + 1}} {
		if _, err := Run(t.Context(), c); !errors.Is(err, ErrConfig) {
			t.Errorf("%d rounds: %v", c.Rounds, err)
		}
	}
	if os.Geteuid() == 0 {
		t.Skip("skipped: the rest is about users who are not root")
	}
	if _, err := Run(t.Context(), Config{Command: self, Report: none}); !errors.Is(err, NeedsRootError{}) {
		t.Errorf("an ordinary user: %v", err)
	}
}
