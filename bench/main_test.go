package bench_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/lazymig/lazymig/bench"
	"github.com/lazymig/lazymig/bench/leftover"
	"github.com/lazymig/lazymig/bench/prereq"
	"github.com/lazymig/lazymig/internal/vmm/qmp"
)

func TestMain(m *testing.M) { os.Exit(bench.Main(m)) }

// testTimeout bounds a test: a boot takes seconds, and several tests may share
// two processors.
const testTimeout = 3 * time.Minute

// newPair starts a guest for a test and checks that nothing stays of it.
func newPair(t *testing.T, config bench.Config) (context.Context, *bench.Pair) {
	t.Helper()
	prereq.Require(t, append(prereq.Guest(), prereq.Network()...)...)
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	t.Cleanup(cancel)
	before := leftover.Take()
	p, err := bench.New(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of the source:\n%s", p.Source().Log())
		}
		if err := p.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		if left := before.Since(); len(left) > 0 {
			t.Errorf("left behind: %q", left)
		}
	})
	return ctx, p
}

// monitor connects to a VM's second monitor.
func monitor(ctx context.Context, t *testing.T, path string) *qmp.Client {
	t.Helper()
	c, err := qmp.Dial(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func execute(ctx context.Context, t *testing.T, c *qmp.Client, name string, args any) {
	t.Helper()
	if err := c.Execute(ctx, name, args, nil); err != nil {
		t.Fatal(err)
	}
}

// waitEvent returns the next event of the name that the condition likes.
func waitEvent(ctx context.Context, t *testing.T, s *qmp.Subscription, name string, likes func(qmp.Event) bool) {
	t.Helper()
	for {
		select {
		case e, ok := <-s.Events():
			if !ok {
				t.Fatalf("wait for %s: %v", name, s.Err())
			}
			if e.Name == name && likes(e) {
				return
			}
		case <-ctx.Done():
			t.Fatalf("wait for %s: %v", name, context.Cause(ctx))
		}
	}
}
