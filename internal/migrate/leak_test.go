package migrate

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// TestManyMoves moves a guest again and again with both engines in this
// process: goroutines, descriptors and files in /dev/shm must not add up. The
// full form is for `make e2e-full`.
func TestManyMoves(t *testing.T) {
	requireVMM(t)
	moves := 6
	if os.Getenv("LAZYMIG_FULL") != "" {
		moves = 50
	}
	hosts := []host{newHost(t), newHost(t)}
	hosts[0].start(t)
	t.Cleanup(func() { quit(hosts[moves%2]) })
	var goroutines, descriptors int
	for i := range moves {
		move(t, hosts[i%2], hosts[(i+1)%2], nil)
		if i == 1 {
			goroutines, descriptors = runtime.NumGoroutine(), openDescriptors(t)
		}
	}
	settle(t, "goroutines", goroutines, runtime.NumGoroutine)
	settle(t, "descriptors", descriptors, func() int { return openDescriptors(t) })
	for i, h := range hosts {
		files, _ := filepath.Glob(h.ram + "*")
		want := 0
		if i == moves%2 {
			want = 1 // the guest's own
		}
		if len(files) != want {
			t.Errorf("host %d has %q", i, files)
		}
	}
}

// settle waits until a count is not above what it was: what ends by itself may
// take a moment.
func settle(t *testing.T, what string, before int, count func() int) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for count() > before {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-deadline:
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d %s, %d at first\n%s", count(), what, before, stacks[:runtime.Stack(stacks, true)])
		}
	}
}

func openDescriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
