package qemu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lazymig/lazymig/internal/vmm"
	"github.com/lazymig/lazymig/internal/vmm/qmp"
	"github.com/lazymig/lazymig/uffd"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// incomingTest is a destination under test, and the names it may use.
type incomingTest struct {
	*Incoming
	dir string
	ram string // prefix of all RAM files
}

// newIncomingTest makes room for one test; everything is checked to be gone
// at its end. It needs root and a QEMU.
func newIncomingTest(t *testing.T) *incomingTest {
	t.Helper()
	needQEMU(t)
	if os.Geteuid() != 0 {
		t.Skip("needs root: a userfaultfd is made in another process")
	}
	leaks := goleak.IgnoreCurrent()
	descriptors := openDescriptors(t)
	test := &incomingTest{
		dir: t.TempDir(),
		ram: fmt.Sprintf("/dev/shm/qemu-incoming-%d-%d", os.Getpid(), testNumber.Add(1)),
	}
	t.Cleanup(func() {
		goleak.VerifyNone(t, leaks)
		if now := openDescriptors(t); len(now) > len(descriptors) {
			t.Errorf("%d descriptors were open, now %d: %q", len(descriptors), len(now), now)
		}
		if left, _ := filepath.Glob(test.ram + "*"); len(left) > 0 {
			t.Errorf("left behind: %q", left)
		}
	})
	return test
}

var testNumber atomic.Int64

func openDescriptors(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		target, err := os.Readlink("/proc/self/fd/" + e.Name())
		// The runtime's own come and go.
		if err == nil && !strings.HasPrefix(target, "anon_inode:[event") {
			list = append(list, target)
		}
	}
	return list
}

// guestArgs is a guest of the machine type with one RAM file of 128 MiB.
func (x *incomingTest) guestArgs(machine string, more ...string) []string {
	return append([]string{
		"qemu-system-x86_64", "-accel", "tcg", "-nodefaults", "-display", "none", "-m", "128M",
		"-object", "memory-backend-file,id=ram0,mem-path=" + x.ram + ",size=128M,share=on",
		"-machine", machine + ",memory-backend=ram0",
	}, more...)
}

// numaArgs is a guest with two NUMA nodes and a DIMM, and with a backend that
// nothing uses.
func (x *incomingTest) numaArgs() []string {
	backend := func(id string) string {
		return "memory-backend-file,id=" + id + ",mem-path=" + x.ram + "." + id + ",size=64M,share=on"
	}
	return []string{
		"qemu-system-x86_64", "-accel", "tcg", "-nodefaults", "-display", "none", "-m", "128M,slots=4,maxmem=1G", "-machine", "q35",
		"-object", backend("node1"), "-object", backend("node0"), "-object", backend("dimm0"), "-object", backend("spare"),
		"-numa", "node,memdev=node0", "-numa", "node,memdev=node1", "-device", "pc-dimm,memdev=dimm0",
	}
}

// open makes the Incoming for a command line and takes it apart at the end.
func (x *incomingTest) open(t *testing.T, args []string) {
	t.Helper()
	incoming, err := NewIncoming(IncomingConfig{Args: args, Dir: x.dir, Tag: "t1", OOMScoreAdj: 17})
	if err != nil {
		t.Fatal(err)
	}
	x.Incoming = incoming
	t.Cleanup(func() {
		if incoming.isDetached {
			return
		}
		ctx := context.Background() //nolint:usetesting // t.Context has ended when clean-ups run
		if err := errors.Join(incoming.Kill(ctx), incoming.Remove(), incoming.Detach()); err != nil {
			t.Errorf("take apart: %v", err)
		}
	})
}

// start opens the Incoming and brings QEMU up.
func (x *incomingTest) start(t *testing.T, args []string) {
	t.Helper()
	x.open(t, args)
	if err := x.Create(); err != nil {
		t.Fatal(err)
	}
	if err := x.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// arm arms QEMU; faults are served by pages from files.
func (x *incomingTest) arm(t *testing.T, files []string) *pageServer {
	t.Helper()
	handle, mappings, err := x.Arm(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return servePages(t, handle, mappings, files)
}

// allocated returns the allocated bytes of a file.
func allocated(t *testing.T, path string) int64 {
	t.Helper()
	var status unix.Stat_t
	if err := unix.Stat(path, &status); err != nil {
		t.Fatal(err)
	}
	return status.Blocks * 512
}

// pageServer answers faults with the pages of files, one file for a region.
type pageServer struct {
	reader *uffd.Reader
	served atomic.Int64
	failed atomic.Pointer[error]
}

func servePages(t *testing.T, handle *uffd.Handle, mappings []vmm.Mapping, files []string) *pageServer {
	t.Helper()
	reader, err := uffd.NewReader(handle)
	if err != nil {
		t.Fatal(err)
	}
	s := &pageServer{reader: reader}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := s.serve(handle, mappings, files); err != nil && !errors.Is(err, os.ErrClosed) {
			s.failed.Store(&err)
		}
	}()
	t.Cleanup(func() {
		err := reader.Close()
		<-ended
		if failed := s.failed.Load(); failed != nil && !errors.Is(*failed, unix.ESRCH) {
			t.Errorf("serve pages: %v", *failed)
		}
		if err := errors.Join(err, handle.Close()); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *pageServer) serve(handle *uffd.Handle, mappings []vmm.Mapping, paths []string) error {
	var files []*os.File
	for _, path := range paths {
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		files = append(files, file)
	}
	page := make([]byte, 4096)
	var batch uffd.Batch
	for {
		if err := s.reader.Read(&batch, -1); err != nil {
			return err
		}
		for _, fault := range batch.Faults {
			i := slices.IndexFunc(mappings, func(m vmm.Mapping) bool {
				return fault.Address >= m.Start && fault.Address-m.Start < m.Length
			})
			if i < 0 {
				return fmt.Errorf("fault at %#x", fault.Address)
			}
			m := mappings[i]
			if _, err := files[m.Region].ReadAt(page, int64(fault.Address-m.Start+m.Offset)); err != nil {
				return err
			}
			if _, err := handle.Copy(fault.Address, page); err != nil && !errors.Is(err, unix.EEXIST) {
				return err
			}
			s.served.Add(1)
		}
	}
}

// sourceTest is a guest that is moved away by raw commands.
type sourceTest struct {
	monitor *qmp.Client
	command *exec.Cmd
	paths   []string // of the RAM files, in layout order
}

// startSource starts the guest with its own RAM files and waits until its
// firmware has used some memory.
func startSource(t *testing.T, args []string, paths ...string) *sourceTest {
	t.Helper()
	monitor := filepath.Join(t.TempDir(), "source.sock")
	s := &sourceTest{paths: paths}
	s.command = exec.Command(args[0], append(args[1:], "-qmp", "unix:"+monitor+",server=on,wait=off")...)
	s.command.Stderr = os.Stderr
	if err := s.command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if s.monitor != nil {
			s.monitor.Close()
		}
		s.command.Process.Kill()
		s.command.Wait()
		for _, path := range paths {
			os.Remove(path)
		}
	})
	waitUntil(t, "the source's monitor", func() bool {
		var err error
		s.monitor, err = qmp.Dial(t.Context(), monitor)
		return err == nil
	})
	waitUntil(t, "the firmware", func() bool {
		var sum int64
		for _, path := range paths {
			sum += allocated(t, path)
		}
		return sum > 64<<10
	})
	return s
}

// save migrates the guest, which stops it, and writes its device state to w.
func (s *sourceTest) save(t *testing.T, w io.Writer) {
	t.Helper()
	capabilities := map[string]any{"capabilities": []map[string]any{{"capability": "x-ignore-shared", "state": true}}}
	ours, theirs, err := streamPair()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	err = errors.Join(
		s.monitor.Execute(t.Context(), "migrate-set-capabilities", capabilities, nil),
		s.monitor.ExecuteFD(t.Context(), "getfd", map[string]string{"fdname": "out"}, theirs),
		unix.Close(theirs),
		s.monitor.Execute(t.Context(), "migrate", map[string]string{"uri": "fd:out"}, nil))
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(w, ours); err != nil || n == 0 {
		t.Fatalf("device state: %d bytes, %v", n, err)
	}
}

// waitUntil polls with a deadline for what no event tells.
func waitUntil(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited too long for %s", what)
		}
	}
}

// receive waits for a value with a deadline.
func receive[T any](t *testing.T, what string, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(20 * time.Second):
		t.Fatalf("waited too long for %s", what)
		panic("unreachable")
	}
}
