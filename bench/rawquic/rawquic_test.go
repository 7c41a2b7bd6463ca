package rawquic

import (
	"context"
	"os"
	"os/exec"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if code, is := Child(); is {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

func TestRun(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	const size = 32 << 20
	r, err := Run(ctx, Config{Bytes: size, RoundTrips: 200})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%.0f MB/s, round trip %v / %v, %v of CPU a GiB", r.BytesPerSecond/1e6, r.P50, r.P99, r.CPUPerGiB(size))
	if r.BytesPerSecond < 1e6 || r.P50 <= 0 || r.P99 < r.P50 || r.ServerCPU <= 0 || r.ClientCPU <= 0 {
		t.Errorf("measured nothing: %+v", r)
	}
}

// TestRunSaysWhatFailed has no client.
func TestRunSaysWhatFailed(t *testing.T) {
	none := func(ctx context.Context, _ string, _ ...string) *exec.Cmd {
		return exec.CommandContext(ctx, "/nonexistent")
	}
	if _, err := Run(t.Context(), Config{Client: none}); err == nil {
		t.Error("a measurement without a client worked")
	}
	if _, err := Run(t.Context(), Config{Address: "256.0.0.1:1"}); err == nil {
		t.Error("a measurement without a server worked")
	}
}
