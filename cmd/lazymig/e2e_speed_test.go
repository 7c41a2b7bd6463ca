package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/lazymig/lazymig/bench"
	"github.com/lazymig/lazymig/bench/process"
)

// repeats returns how often a measurement is repeated: the short form in CI,
// the full one in `make e2e-full`.
func repeats(short, full int) int {
	if isFull() {
		return full
	}
	return short
}

// isFull tells `make e2e-full` from CI.
func isFull() bool { return os.Getenv("LAZYMIG_FULL") != "" }

// plainBinary builds lazymig without the race detector, which makes it several
// times slower and larger.
func plainBinary(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lazymig")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", path, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build lazymig: %v\n%s", err, out)
	}
	return path
}

func median[T int64 | float64 | time.Duration](list []T) T {
	sorted := slices.Sorted(slices.Values(list))
	return sorted[len(sorted)/2]
}

// TestSwitch measures the switch as the guest and its clients see it, on an
// idle link without a limit. The targets are 15 ms from STOP to RESUME, 120 ms
// between heartbeats and no operation over 200 ms; docs/TESTING.md says what
// was measured. What fails here is what no noisy machine explains.
func TestSwitch(t *testing.T) {
	const (
		blackout = 60.0 // ms, STOP to RESUME
		gap      = 500 * time.Millisecond
		worst    = time.Second
		memory   = 150<<20 + 1<<30/100 // bytes a side, without guest RAM
	)
	m := newMover(t, bench.Config{DiskMiB: 64})
	m.binary = plainBinary(t)
	var stopped []float64
	var gaps, operations []time.Duration
	for range repeats(3, 20) {
		receive, send := m.receive(), m.send()
		receive.reaches("OWNER")
		var pss [2]int64
		for i, s := range []*side{send, receive} {
			if cost, err := process.Usage(s.engine(), "/dev/shm/"); err == nil {
				pss[i] = int64(cost.PSS)
			}
		}
		sent, received := send.exits(0), receive.exits(0)
		m.moved()
		m.describe(sent, received)
		seen, err := m.pair.Beats.Switch(m.pair.Source().Stream())
		if err != nil {
			t.Fatal(err)
		}
		stopped, gaps, operations = append(stopped, stoodStill(sent)), append(gaps, seen.Gap), append(operations, seen.Worst)
		for i, name := range []string{"source", "destination"} {
			if pss[i] > memory {
				t.Errorf("the %s's engine uses %d MiB", name, pss[i]>>20)
			}
		}
		t.Logf("engines: %d and %d MiB", pss[0]>>20, pss[1]>>20)
		if _, err := m.pair.Source().Stream().Wait(m.ctx, 2000); err != nil {
			t.Fatal(err)
		}
	}
	m.verify()
	t.Logf("medians of %d: stopped %.1f ms, gap %v, worst operation %v", len(stopped), median(stopped), median(gaps), median(operations))
	if got := median(stopped); got > blackout {
		t.Errorf("the guest stood still for %.1f ms, want at most %.1f", got, blackout)
	}
	if got := median(gaps); got > gap {
		t.Errorf("the heartbeat paused for %v, want at most %v", got, gap)
	}
	if got := slices.Max(operations); got > worst {
		t.Errorf("an operation of the guest took %v, want at most %v", got, worst)
	}
}
