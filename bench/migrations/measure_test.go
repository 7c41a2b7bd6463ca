package migrations_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lazymig/lazymig/bench"
	"github.com/lazymig/lazymig/bench/leftover"
	"github.com/lazymig/lazymig/bench/migrations"
	"github.com/lazymig/lazymig/bench/prereq"
)

func TestMain(m *testing.M) { os.Exit(bench.Main(m)) }

const testTimeout = 8 * time.Minute

// small is a guest that boots and moves fast.
func small() migrations.Setting {
	s := migrations.Base()
	s.MemoryMiB, s.ChangingMiB = 384, 64
	return s
}

// config returns how a test measures: a lazymig of this tree, results in a
// file of the test.
func config(t *testing.T, runs ...migrations.Run) (context.Context, migrations.Config) {
	t.Helper()
	prereq.Require(t, append(prereq.Guest(), prereq.Network()...)...)
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	t.Cleanup(cancel)
	before := leftover.Take()
	t.Cleanup(func() {
		if left := before.Since(); len(left) > 0 {
			t.Errorf("left behind: %q", left)
		}
	})
	environment, err := migrations.Here(ctx, "qemu-system-x86_64")
	if err != nil {
		t.Fatal(err)
	}
	environment.Accel = "tcg"
	return ctx, migrations.Config{Out: filepath.Join(t.TempDir(), "results"), Runs: runs, Environment: environment}
}

// TestMeasurePresent switches a guest to a QEMU over the same RAM file.
func TestMeasurePresent(t *testing.T) {
	here := small()
	here.RateBits = 0
	ctx, c := config(t, migrations.Plan(here, nil, []migrations.Technique{migrations.Present}, 1)...)
	if err := migrations.Measure(ctx, c); err != nil {
		t.Fatal(err)
	}
	r := results(t, c)
	if len(r) != 1 || r[0].Outcome != migrations.Verified || r[0].GapMS <= 0 || r[0].BytesOut > 16<<20 {
		t.Errorf("results %+v", r)
	}
	t.Logf("gap %.1f ms, stopped %.1f ms, %d bytes", r[0].GapMS, r[0].StoppedMS, r[0].BytesOut)
}

func build(ctx context.Context, t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lazymig")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, "github.com/lazymig/lazymig/cmd/lazymig")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build lazymig: %v\n%s", err, out)
	}
	return path
}

func results(t *testing.T, c migrations.Config) []migrations.Record {
	t.Helper()
	f, err := os.Open(c.Out)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	records, err := migrations.Read(f)
	if err != nil {
		t.Fatal(err)
	}
	return records
}

// TestMeasure moves a small guest by lazymig, and by QEMU over TLS and a path
// with a delay, and checks that what was measured can be.
func TestMeasure(t *testing.T) {
	far := small()
	far.RTTMS, far.TLS = 2, true
	runs := append(
		migrations.Plan(small(), nil, []migrations.Technique{migrations.Lazymig}, 1),
		migrations.Plan(far, nil, []migrations.Technique{migrations.PostCopyPreempt, migrations.PostCopy}, 1)...)
	ctx, c := config(t, runs...)
	c.Program = build(ctx, t)
	if err := migrations.Measure(ctx, c); err != nil {
		t.Fatal(err)
	}
	records := results(t, c)
	if len(records) != len(runs) {
		t.Fatalf("%d records of %d runs", len(records), len(runs))
	}
	for _, r := range records {
		check(t, r)
	}
	again := 0
	c.Begun = func(int, int, migrations.Run) { again++ }
	if err := migrations.Measure(ctx, c); err != nil || again > 0 {
		t.Errorf("%d runs were made again: %v", again, err)
	}
}

// check looks for figures that cannot be.
func check(t *testing.T, r migrations.Record) {
	t.Helper()
	t.Logf("%s: %+v, %d points", r.Setting, r.Results, len(r.Series))
	if r.Technique == migrations.PostCopyPreempt && r.TLS {
		if r.Outcome == migrations.Failed {
			t.Logf("QEMU cannot do this: %s", r.Error)
		}
		return
	}
	if r.Outcome != migrations.Verified {
		t.Errorf("%s: %s", r.Setting, r.Error)
		return
	}
	used := float64(r.ChangingMiB << 20)
	switch {
	case r.StoppedMS <= 0 || r.GapMS <= 0 || r.StoppedMS > r.GapMS+100 || r.WorstMS <= 0 || r.FloorMS <= 0:
		t.Errorf("%s: times of the switch: %+v", r.Setting, r.Results)
	case r.FreeMS < r.SwitchAtMS || r.BaseRate < 1000:
		t.Errorf("%s: times of the move: %+v", r.Setting, r.Results)
	case float64(r.MemoryUsed) < used || float64(r.BytesOut) < used/4 || r.BytesOut > 4*r.MemoryUsed:
		t.Errorf("%s: bytes: %+v", r.Setting, r.Results)
	case r.CPUSource+r.CPUDestination <= 0 || r.CPUSource+r.CPUDestination > 60:
		t.Errorf("%s: processor time: %+v", r.Setting, r.Results)
	case r.PeakSource > 1<<30 || r.PeakDestination > 1<<30:
		t.Errorf("%s: memory: %+v", r.Setting, r.Results)
	case len(r.Series) < 50 || r.Verification == "":
		t.Errorf("%s: %d points, verification %q", r.Setting, len(r.Series), r.Verification)
	}
}

// TestMeasureFailure: a technique that does not work is recorded, and is no
// error of the measurement.
func TestMeasureFailure(t *testing.T) {
	ctx, c := config(t, migrations.Plan(small(), nil, []migrations.Technique{migrations.Lazymig}, 1)...)
	c.Program = "/bin/false"
	if err := migrations.Measure(ctx, c); err != nil {
		t.Fatal(err)
	}
	r := results(t, c)
	if len(r) != 1 || r[0].Outcome != migrations.Failed || !strings.Contains(r[0].Error, "receive ended") {
		t.Errorf("results %+v", r)
	}
}

// TestMeasureBudget begins no run when the time is over.
func TestMeasureBudget(t *testing.T) {
	ctx, c := config(t, migrations.Plan(small(), nil, []migrations.Technique{migrations.Lazymig}, 1)...)
	c.Budget = time.Nanosecond
	if err := migrations.Measure(ctx, c); !errors.Is(err, migrations.ErrBudget) {
		t.Errorf("error %v", err)
	}
}

func TestMeasureNeedsRoot(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("skipped: it is about users who are not root")
	}
	err := migrations.Measure(t.Context(), migrations.Config{Out: filepath.Join(t.TempDir(), "results")})
	if _, ok := errors.AsType[*migrations.NeedsRootError](err); !ok {
		t.Errorf("error %v", err)
	}
}
