package metal_test

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"github.com/lazymig/lazymig/bench"
	"github.com/lazymig/lazymig/bench/metal"
)

// TestMain lets the test binary be a helper.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == "bench" && os.Args[2] == "host" {
		os.Exit(helper(os.Args[3]))
	}
	os.Exit(bench.Main(m))
}

func helper(dir string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	signal.Ignore(syscall.SIGPIPE, syscall.SIGHUP)
	if err := metal.Serve(ctx, os.Stdin, os.Stdout, dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
