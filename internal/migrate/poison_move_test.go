package migrate

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/internal/vmm/qmp"
	"github.com/lazymig/lazymig/quictransport"
	"github.com/lazymig/lazymig/uffd"
)

// brokenMemory is a guest's memory of which hardware has lost one page.
type brokenMemory struct {
	SourceMemory
	page uint64
}

func (m brokenMemory) ReadAt(p []byte, region int, offset uint64) (int, error) {
	first := offset / lazymig.PageSize
	if m.page >= first && m.page < first+uint64(len(p))/lazymig.PageSize {
		return 0, fmt.Errorf("read page %d: %w", m.page, unix.EIO)
	}
	return m.SourceMemory.ReadAt(p, region, offset)
}

// host is a place for a guest without an operating system: it sits in its
// firmware and does not touch the memory that the test fills.
type host struct {
	dir, ram string
	cache    PageCache
	identity *quictransport.Identity // nil: one of its own for each move
	warm     WarmConfig
}

const hostRAM = 64 << 20

// firstFilled is the first page that tests fill: the firmware leaves it and those
// behind it alone.
const firstFilled = 4096

// filled is how many pages of a guest randomPages fills.
const filled = 4096

func newHost(t *testing.T) host {
	t.Helper()
	dir := t.TempDir()
	h := host{dir: dir, ram: filepath.Join("/dev/shm", fmt.Sprintf("migrate-test-%d-%d", os.Getpid(), rand.Uint32()))}
	t.Cleanup(func() {
		left, _ := filepath.Glob(h.ram + "*")
		for _, path := range left {
			_ = os.Remove(path) // it may have gone meanwhile
		}
	})
	return h
}

func (h host) monitor() string { return filepath.Join(h.dir, "monitor") }

func (h host) args() []string {
	return []string{
		"qemu-system-x86_64", "-name", "poisoned", "-accel", "tcg", "-nodefaults", "-display", "none",
		"-m", "64M", "-object", "memory-backend-file,id=ram0,share=on,size=64M,mem-path=" + h.ram,
		"-machine", "q35,memory-backend=ram0", "-qmp", "unix:" + h.monitor() + ",server=on,wait=off",
	}
}

// start starts a guest here.
func (h host) start(t *testing.T) {
	t.Helper()
	args := h.args()
	vmm := exec.Command(args[0], args[1:]...)
	if err := vmm.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- vmm.Wait() }()
	t.Cleanup(func() {
		_ = vmm.Process.Kill() // a move has killed it already
		<-ended
	})
	deadline := time.After(20 * time.Second)
	for {
		monitor, err := qmp.Dial(t.Context(), h.monitor())
		if err == nil {
			monitor.Close()
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-deadline:
			t.Fatal(err)
		}
	}
}

// requireVMM skips where the test cannot run, and fails in CI.
func requireVMM(t *testing.T) {
	t.Helper()
	skip := t.Skipf
	if os.Getenv("CI") == "true" {
		skip = t.Fatalf
	}
	if os.Geteuid() != 0 {
		t.Skipf("a guest of another process is served by root only")
	}
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		skip("no QEMU: %v", err)
	}
}

// move moves the guest from one host to another and returns both reports.
func move(t *testing.T, from, to host, broken func(SourceMemory) SourceMemory) (sent, received Report) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	identity := to.identity
	if identity == nil {
		identity = newIdentity(t)
	}
	listening := make(chan struct{})
	done := make(chan error, 1)
	go func() {
		var err error
		received, err = Receive(ctx, ReceiveConfig{
			Listen: "127.0.0.1:17907", VM: "poisoned", StateDir: to.dir, Identity: identity, Args: to.args(), Cache: to.cache,
			Report: func(e Event) {
				if e.Event == EventMessage && bytes.HasPrefix([]byte(e.Message), []byte("waiting for")) {
					close(listening)
				}
			},
		})
		done <- err
	}()
	select {
	case <-listening:
	case err := <-done:
		t.Fatal(err)
	}
	var err error
	sent, err = Send(ctx, SendConfig{
		QMP: from.monitor(), To: "127.0.0.1:17907", VM: "poisoned", StateDir: from.dir, Identity: identity, memory: broken, Cache: from.cache, Warm: from.warm,
	})
	if err != nil {
		t.Errorf("send: %v", err)
	}
	if err := <-done; err != nil {
		t.Errorf("receive: %v", err)
	}
	if t.Failed() {
		t.FailNow()
	}
	return sent, received
}

func newIdentity(t *testing.T) *quictransport.Identity {
	t.Helper()
	identity, err := quictransport.InsecureLoopback()
	if err != nil {
		t.Fatal(err)
	}
	return identity
}

// file returns the RAM file of a guest that has arrived here.
func (h host) file(t *testing.T) string {
	t.Helper()
	files, _ := filepath.Glob(h.ram + ".lazymig-????????")
	if len(files) != 1 {
		t.Fatalf("RAM files %q", files)
	}
	return files[0]
}

// TestPoisonTravels moves a guest with one page that the source's hardware has
// lost: everything else arrives, and a second move still knows the page,
// although the RAM file reads zeros there.
func TestPoisonTravels(t *testing.T) {
	requireVMM(t)
	if support, err := uffd.Probe(uffd.FeaturePoison); support != uffd.Supported {
		t.Skipf("this kernel cannot poison pages (Linux 6.6 can): %v", err)
	}
	const count, lost = 2048, 5000
	a, b, c := newHost(t), newHost(t), newHost(t)
	a.start(t)
	content := make([]byte, count*lazymig.PageSize)
	for i := range content {
		content[i] = byte(rand.Uint32())
	}
	file, err := os.OpenFile(a.ram, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteAt(content, firstFilled*lazymig.PageSize); err != nil {
		t.Fatal(err)
	}
	file.Close()
	t.Cleanup(func() { quit(b); quit(c) })

	sent, received := move(t, a, b, func(m SourceMemory) SourceMemory { return brokenMemory{m, lost} })
	if sent.PagesPoisoned != 1 || received.PagesPoisoned != 1 {
		t.Errorf("first move: %d and %d poisoned pages, want 1", sent.PagesPoisoned, received.PagesPoisoned)
	}
	clear(content[(lost-firstFilled)*lazymig.PageSize:][:lazymig.PageSize])
	compare(t, b.file(t), content)

	sent, _ = move(t, b, c, nil)
	if sent.PagesPoisoned != 1 {
		t.Errorf("second move: %d poisoned pages, want 1", sent.PagesPoisoned)
	}
	compare(t, c.file(t), content)
	list, err := openPoisonList(filepath.Join(c.dir, "vm", "poisoned", poisonedFile), lazymig.Layout{{Name: "ram0", Size: hostRAM}})
	if err != nil || !list.has(lost) {
		t.Errorf("the third host knows %v, %v", list, err)
	}
}

// quit ends the VMM of a guest that has arrived on a host, if there is one.
func quit(h host) {
	monitor, err := qmp.Dial(context.Background(), h.monitor())
	if err != nil {
		return
	}
	defer monitor.Close()
	_ = monitor.Execute(context.Background(), "quit", nil, nil) // it may end without an answer
}

// compare compares a part of a RAM file.
func compare(t *testing.T, path string, want []byte) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	got := make([]byte, len(want))
	if _, err := file.ReadAt(got, firstFilled*lazymig.PageSize); err != nil {
		t.Fatal(err)
	}
	for p := 0; p < len(want); p += lazymig.PageSize {
		if !bytes.Equal(got[p:p+lazymig.PageSize], want[p:p+lazymig.PageSize]) {
			t.Fatalf("page %d of %s has other bytes", firstFilled+int64(p/lazymig.PageSize), path)
		}
	}
}
