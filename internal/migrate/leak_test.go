package migrate

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// TestManyMoves moves a guest again and again with both engines in this
// process: goroutines, descriptors, memory and files in /dev/shm must not add up.
// The full form is for `make e2e-full`.
func TestManyMoves(t *testing.T) {
	requireVMM(t)
	moves := 6
	if os.Getenv("LAZYMIG_FULL") != "" {
		moves = 50
	}
	hosts := []host{newHost(t), newHost(t)}
	hosts[0].start(t)
	t.Cleanup(func() { quit(hosts[moves%2]) })
	const slack = 1 << 20 // of memory: less than 64 KiB a move in the full form
	var goroutines, descriptors, memory int
	for i := range moves {
		move(t, hosts[i%2], hosts[(i+1)%2], nil)
		if i == 1 {
			goroutines, descriptors, memory = runtime.NumGoroutine(), openDescriptors(t), heap()
		}
	}
	settle(t, "goroutines", goroutines, runtime.NumGoroutine)
	settle(t, "descriptors", descriptors, func() int { return openDescriptors(t) })
	settle(t, "bytes of memory", memory+slack, heap)
	t.Logf("memory in use: %d KiB after 2 moves, %d KiB after %d", memory>>10, heap()>>10, moves)
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

// heap returns the bytes of memory that are in use.
func heap() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

func openDescriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
