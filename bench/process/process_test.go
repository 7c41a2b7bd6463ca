package process

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestUsage(t *testing.T) {
	const size = 64 << 20
	path := filepath.Join("/dev/shm", "process-test-"+filepath.Base(t.TempDir()))
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(path); _ = f.Close() })
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	ram, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(ram) })
	before := usage(t)
	copy(ram, bytes.Repeat([]byte{1}, size))
	for start := time.Now(); time.Since(start) < 100*time.Millisecond; {
		ram[0]++
	}
	all, without := usage(t), usage(t, path)
	if all.RSS < before.RSS+size || all.PSS < before.PSS+size {
		t.Errorf("%d bytes of RAM were filled: %+v after %+v", size, all, before)
	}
	const noise = 16 << 20 // what the test itself allocates meanwhile
	if without.RSS > all.RSS-size+noise || without.PSS > all.PSS-size+noise {
		t.Errorf("RAM counts: %+v, with it %+v", without, all)
	}
	if all.CPU < before.CPU+50*time.Millisecond || all.Threads < 1 || all.Descriptors < 4 {
		t.Errorf("%+v after %+v", all, before)
	}
}

func usage(t *testing.T, without ...string) Cost {
	t.Helper()
	c, err := Usage(os.Getpid(), without...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestUsageOfNobody(t *testing.T) {
	if _, err := Usage(1 << 30); err == nil {
		t.Error("a process that cannot be has a cost")
	}
}
