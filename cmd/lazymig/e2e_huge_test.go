package main

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lazymig/lazymig/bench/prereq"
)

// TestMoveHugePages moves a guest whose RAM is in pages of 2 MiB there and back,
// while its balloon takes memory from it.
func TestMoveHugePages(t *testing.T) {
	const mib = 384
	prereq.HugePages(t, 2*mib/2+16)
	config := smallGuest()
	config.VM.RAMDir = t.TempDir()
	if err := unix.Mount("none", config.VM.RAMDir, "hugetlbfs", 0, "pagesize=2M"); err != nil {
		t.Skipf("skipped: cannot mount a hugetlbfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(config.VM.RAMDir, 0); err != nil {
			t.Error(err)
		}
	})
	m := newMover(t, config)
	for i := range 2 {
		receive, send := m.receive(), m.send()
		receive.reaches("OWNER")
		inflate(m, m.destination(), mib-64*int64(i+1))
		sent, received := send.exits(0), receive.exits(0)
		m.moved()
		m.verify()
		m.describe(sent, received)
		if received.PagesTotal != mib<<8 || received.PagesZero == 0 {
			t.Errorf("it has received %+v", received)
		}
	}
}
