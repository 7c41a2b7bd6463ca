package qemu

import (
	"context"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestThawKeepsDisks gives up at all times while QEMU sends the state of the
// devices and hands its disks over. A guest that runs without its disks takes
// QEMU down with its next write.
func TestThawKeepsDisks(t *testing.T) {
	t.Parallel()
	disk := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(disk, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	v, g, before := prepared(t, append(plainGuest(t, "pc"),
		"-drive", "if=none,id=disk0,format=raw,cache=none,file="+disk, "-device", "virtio-blk-pci,drive=disk0")...)
	for range 60 {
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			defer cancel()
			select {
			case <-g.Still():
				<-time.After(time.Duration(rand.IntN(4000)) * time.Microsecond)
			case <-ctx.Done():
			}
		}()
		_, err := g.Freeze(ctx, io.Discard)
		cancel()
		if err == nil {
			t.Log("frozen in time")
		}
		wantThawed(t, v, g, before, "running")
		v.do("human-monitor-command", map[string]any{"command-line": `qemu-io disk0 "write 0 4k"`})
		if err := g.Prepare(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}
