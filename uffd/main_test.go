package uffd

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// childEnv makes the test binary a child that touches memory. See child_test.go.
const childEnv = "LAZYMIG_UFFD_CHILD"

// page is the page size in the type that tests calculate with.
const page = 4096

func init() {
	if os.Getenv(childEnv) != "" {
		runtime.LockOSThread() // the main goroutine stays on the main thread
	}
}

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		childMain()
		os.Exit(0)
	}
	// Go's poller makes an eventfd when it is first needed: before any test
	// counts descriptors.
	read, write, err := os.Pipe()
	if err != nil {
		panic(err)
	}
	if err := errors.Join(read.Close(), write.Close()); err != nil {
		panic(err)
	}
	skipExamples()
	os.Exit(m.Run())
}

// skipExamples skips them for a user who may not serve faults of the kernel:
// an example cannot do so itself.
func skipExamples() {
	h, err := Open()
	if err == nil {
		err = h.Close()
	}
	flag.Parse()
	if skip := flag.Lookup("test.skip").Value; err != nil && skip.String() == "" {
		fmt.Fprintln(os.Stderr, "examples are skipped:", err)
		if err := skip.Set("^Example"); err != nil {
			panic(err)
		}
	}
}

// inCI reports whether what a test needs must be there.
func inCI() bool { return os.Getenv("CI") == "true" }

// need skips the test with a reason, or fails it in CI.
func need(t testing.TB, ok bool, reason string, args ...any) {
	t.Helper()
	switch {
	case ok:
	case inCI():
		t.Fatalf("CI: "+reason, args...)
	default:
		t.Skipf(reason, args...)
	}
}

func needRoot(t testing.TB) {
	t.Helper()
	need(t, os.Geteuid() == 0, "needs root: creates userfaultfds and traces processes")
}

func needFeature(t testing.TB, f Feature) {
	t.Helper()
	support, err := Probe(f)
	if support == Unsupported {
		t.Skipf("the kernel lacks %s", f.requirement())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// checkDescriptors fails the test if it leaves descriptors behind of the kinds
// that this package makes.
func checkDescriptors(t testing.TB) {
	t.Helper()
	before := countDescriptors(t)
	t.Cleanup(func() {
		if after := countDescriptors(t); !reflect.DeepEqual(before, after) {
			t.Errorf("descriptors leaked: before %v, after %v", before, after)
		}
	})
}

func countDescriptors(t testing.TB) map[string]int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, entry := range entries {
		kind, err := os.Readlink("/proc/self/fd/" + entry.Name())
		if err != nil {
			continue // the directory's own descriptor
		}
		if kind == "anon_inode:[userfaultfd]" || kind == "anon_inode:[eventfd]" ||
			strings.HasPrefix(kind, "anon_inode:[pidfd]") || strings.HasPrefix(kind, "pidfd:") || kind == devicePath {
			count[kind]++
		}
	}
	return count
}

// eventually waits until condition holds.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(200 * time.Microsecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited too long until %s", what)
		}
	}
}

func wantErr(t testing.TB, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Fatalf("error is %v, want %v", got, want)
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// openRaw opens a userfaultfd of the test process without the handshake: for
// memory that the kernel does not touch, as ordinary users may have it too.
func openRaw(t testing.TB) *Handle {
	t.Helper()
	fd, err := create(openFlags | userModeOnly)
	if err != nil {
		need(t, false, "no userfaultfd: %v", err)
	}
	h := Adopt(fd)
	t.Cleanup(func() { check(t, h.Close()) })
	return h
}

// openHandle is openRaw with the handshake.
func openHandle(t testing.TB, want Feature) *Handle {
	t.Helper()
	h := openRaw(t)
	_, err := h.Handshake(want)
	check(t, err)
	return h
}

type memoryKind string

const (
	anonymous memoryKind = "anonymous"
	shared    memoryKind = "shared"
)

// mapMemory maps memory. A shared one is on tmpfs; fd is its file or -1.
func mapMemory(kind memoryKind, pages int) (memory []byte, fd int, err error) {
	protection, flags := unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS
	fd = -1
	if kind == shared {
		if fd, err = unix.MemfdCreate("lazymig-uffd-test", unix.MFD_CLOEXEC); err != nil {
			return nil, -1, err
		}
		if err := unix.Ftruncate(fd, int64(pages*page)); err != nil {
			return nil, -1, errors.Join(err, unix.Close(fd))
		}
		flags = unix.MAP_SHARED
	}
	memory, err = unix.Mmap(fd, 0, pages*page, protection, flags)
	if err != nil {
		return nil, -1, fmt.Errorf("mmap: %w", err)
	}
	return memory, fd, unix.Madvise(memory, unix.MADV_NOHUGEPAGE)
}

func addressOf(memory []byte) uint64 { return uint64(reflect.ValueOf(memory).Pointer()) }

// registered returns memory of this process that h handles. The test must not
// touch it before it calls the function that is returned, to unregister it.
func registered(t testing.TB, h *Handle, kind memoryKind, pages int) (address uint64, release func() []byte) {
	t.Helper()
	memory, fd, err := mapMemory(kind, pages)
	check(t, err)
	t.Cleanup(func() {
		check(t, unix.Munmap(memory))
		if fd >= 0 {
			check(t, unix.Close(fd))
		}
	})
	check(t, h.Register(addressOf(memory), uint64(len(memory))))
	return addressOf(memory), func() []byte {
		check(t, h.Unregister(addressOf(memory), uint64(len(memory))))
		return memory
	}
}

// pattern returns pages that differ from each other and from zero.
func pattern(first, pages int) []byte {
	data := make([]byte, pages*page)
	for i := range data {
		data[i] = byte(patternWord(first+i/page)) ^ byte(i)
	}
	return data
}

func patternWord(n int) int { return (n*7 + 1) & 0xff }
