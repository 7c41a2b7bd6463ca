package bench

import (
	"context"
	"fmt"
	"os"

	"github.com/lazymig/lazymig/bench/leftover"
	"github.com/lazymig/lazymig/bench/rawquic"
)

// Main runs the tests of a package that uses the harness and returns the exit
// code for TestMain: it is the other end of a measurement if this process was
// started for that, sweeps away what earlier runs left behind, and cleans up
// when a person stops the tests.
func Main(tests interface{ Run() int }) int {
	if code, is := rawquic.Child(); is {
		return code
	}
	if os.Geteuid() == 0 {
		if err := leftover.Sweep(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	release := leftover.Guard()
	defer release()
	return tests.Run()
}
