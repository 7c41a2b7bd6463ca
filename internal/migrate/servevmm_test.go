package migrate

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/internal/vmm/firecracker"
	"github.com/lazymig/lazymig/uffd"
)

// A test VMM is this test binary, started again: it maps memory, hands its
// faults over and touches pages on command, since the process that serves
// faults must not touch such memory itself. Commands are lines on its standard
// input; each touch has a thread of its own and answers when it is done.

// vmmEnv makes TestVMMProcess a VMM.
const vmmEnv = "LAZYMIG_TEST_VMM"

// testRegion is a region of a test VMM, in pages of 4 KiB. It needs no page of the
// file that is in none.
type testRegion struct {
	first, pages int
	huge         bool // in pages of 2 MiB
}

// testVMM is the parent's end.
type testVMM struct {
	t     testing.TB
	cmd   *exec.Cmd
	stdin *os.File
	lines chan string
	held  []string
	pid   int
	ended chan struct{}
}

// startVMM starts a VMM with these regions that hands over to socket. One that
// is "doomed" may be killed for that at once; so may one that is "gigantic" and says
// that its pages have 1 GiB, and one that leaves its memory "unregistered". For one that is "quick" nobody waits.
func startVMM(t testing.TB, socket, extra string, regions ...testRegion) *testVMM {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: creates userfaultfds")
	}
	if _, err := uffd.Features(); err != nil {
		t.Skip(err)
	}
	read, write, err := os.Pipe()
	fatal(t, err)
	cmd := exec.Command(os.Args[0], "-test.run=^TestVMMProcess$")
	// Without collection and preemption no thread of the VMM waits for one
	// that waits for a page. Such a thread keeps its P: there have to be many.
	cmd.Env = append(os.Environ(), vmmEnv+"=1", "GOGC=off", "GODEBUG=asyncpreemptoff=1", "GOMAXPROCS=64")
	cmd.Stdin, cmd.Stderr = read, os.Stderr
	stdout, err := cmd.StdoutPipe()
	fatal(t, err)
	fatal(t, cmd.Start())
	fatal(t, read.Close())
	v := &testVMM{t: t, cmd: cmd, stdin: write, lines: make(chan string, 1024), pid: cmd.Process.Pid, ended: make(chan struct{})}
	go func() {
		for scanner := bufio.NewScanner(stdout); scanner.Scan(); {
			v.lines <- scanner.Text()
		}
		_ = cmd.Wait() // how it ended is in ProcessState
		close(v.ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		<-v.ended
		_ = write.Close()
	})
	for _, r := range regions {
		kind := "small"
		if r.huge {
			kind = "huge"
		}
		v.send("region %d %d %s", r.first, r.pages, kind)
	}
	v.send("hand %s %s", socket, extra)
	if extra == "" {
		v.expect("handed")
	}
	return v
}

func fatal(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (v *testVMM) send(format string, args ...any) {
	v.t.Helper()
	_, err := fmt.Fprintf(v.stdin, format+"\n", args...)
	fatal(v.t, err)
}

// expect waits for an answer that begins with prefix and returns the rest.
func (v *testVMM) expect(prefix string) string {
	v.t.Helper()
	for i, line := range v.held {
		if rest, ok := strings.CutPrefix(line, prefix); ok {
			v.held = append(v.held[:i], v.held[i+1:]...)
			return strings.TrimSpace(rest)
		}
	}
	limit := time.After(20 * time.Second)
	for {
		select {
		case line := <-v.lines:
			if rest, ok := strings.CutPrefix(line, prefix); ok {
				return strings.TrimSpace(rest)
			}
			v.held = append(v.held, line)
		case <-v.ended:
			v.t.Fatalf("the VMM ended before it said %q: %v", prefix, v.cmd.ProcessState)
		case <-limit:
			v.t.Fatalf("the VMM did not say %q; it said %q", prefix, v.held)
		}
	}
}

// silent fails the test if the VMM has read something.
func (v *testVMM) silent() {
	v.t.Helper()
	v.send("echo")
	v.expect("echo")
	for _, line := range v.held {
		if strings.HasPrefix(line, "read") {
			v.t.Fatalf("the VMM said %q", line)
		}
	}
}

// wantPages fails the test unless the VMM reads these bytes at page first.
func (v *testVMM) wantPages(first int, want []byte) {
	v.t.Helper()
	v.send("read %d %d", first, len(want)/lazymig.PageSize)
	v.wantRead(first, want)
}

// wantRead is wantPages for a read that is under way.
func (v *testVMM) wantRead(first int, want []byte) {
	v.t.Helper()
	if got := v.expect(fmt.Sprintf("read %d ", first)); got != digestOf(want) {
		v.t.Fatalf("pages from %d read as %s, want %s", first, got, digestOf(want))
	}
}

// wantKilled waits for the end of the VMM, which must be by SIGKILL.
func (v *testVMM) wantKilled() {
	v.t.Helper()
	select {
	case <-v.ended:
	case <-time.After(20 * time.Second):
		v.t.Fatal("the VMM lives on")
	}
	if status, ok := v.cmd.ProcessState.Sys().(interface{ Signal() unix.Signal }); !ok || status.Signal() != unix.SIGKILL {
		v.t.Fatalf("the VMM ended by %v", v.cmd.ProcessState)
	}
}

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}

// TestVMMProcess is no test: it is the VMM.
func TestVMMProcess(t *testing.T) {
	if os.Getenv(vmmEnv) == "" {
		t.Skip("it is the process of other tests")
	}
	w := vmmProcess{}
	for scanner := bufio.NewScanner(os.Stdin); scanner.Scan(); {
		w.obey(strings.Fields(scanner.Text()))
	}
	os.Exit(0) // the parent is gone
}

// vmmRegion is one region in the VMM.
type vmmRegion struct {
	first    int
	memory   []byte
	pageSize uint64
}

type vmmProcess struct {
	mu      sync.Mutex // one line at a time
	regions []vmmRegion
	handle  *uffd.Handle // its own copy, never closed
}

func (w *vmmProcess) say(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fmt.Printf(format+"\n", args...)
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func (w *vmmProcess) obey(words []string) {
	var n [2]int
	for i := range min(len(words)-1, 2) {
		_, _ = fmt.Sscan(words[i+1], &n[i])
	}
	switch words[0] {
	case "echo":
		w.say("echo")
	case "region":
		w.regions = append(w.regions, makeRegion(n[0], n[1], words[3] == "huge"))
	case "hand":
		w.hand(words[1], append(words, "")[2])
		w.say("handed")
	default:
		go func() {
			runtime.LockOSThread()
			w.touch(words[0], n[0], n[1])
		}()
	}
}

// makeRegion maps memory for pages of the file from first.
func makeRegion(first, pages int, huge bool) vmmRegion {
	r := vmmRegion{first: first, pageSize: lazymig.PageSize}
	flags := unix.MAP_PRIVATE | unix.MAP_ANONYMOUS
	if huge {
		flags |= unix.MAP_HUGETLB
		r.pageSize = lazymig.HugePageSize
	}
	var err error
	r.memory, err = unix.Mmap(-1, 0, pages*lazymig.PageSize, unix.PROT_READ|unix.PROT_WRITE, flags)
	must(err)
	if !huge {
		must(unix.Madvise(r.memory, unix.MADV_NOHUGEPAGE))
	}
	return r
}

// hand does what a VMM does when it restores a snapshot.
func (w *vmmProcess) hand(socket, extra string) {
	h, err := uffd.Open()
	must(err)
	w.handle = h
	_, err = h.Handshake(uffd.FeatureEventRemove)
	must(err)
	var regions []firecracker.Region
	for _, r := range w.regions {
		region := firecracker.Region{
			Address: uint64(uintptr(unsafe.Pointer(&r.memory[0]))), Size: uint64(len(r.memory)),
			Offset: uint64(r.first) * lazymig.PageSize, PageSize: r.pageSize,
		}
		if extra != "unregistered" {
			must(h.Register(region.Address, region.Size))
		}
		regions = append(regions, region)
	}
	if extra == "gigantic" {
		regions = []firecracker.Region{{Address: 1 << 30, Size: 1 << 30, PageSize: 1 << 30}}
	}
	conn, err := net.Dial("unix", socket)
	must(err)
	must(firecracker.Send(conn.(*net.UnixConn), regions, h.Fd()))
	must(conn.Close())
}

// touch does something with count pages of the file from first.
func (w *vmmProcess) touch(verb string, first, count int) {
	var pages []byte
	for _, r := range w.regions {
		if n := len(r.memory) / lazymig.PageSize; first >= r.first && first+count <= r.first+n {
			pages = r.memory[(first-r.first)*lazymig.PageSize:][:count*lazymig.PageSize]
		}
	}
	switch verb {
	case "read":
		w.say("read %d %s", first, digestOf(pages))
	case "remove":
		must(unix.Madvise(pages, unix.MADV_DONTNEED))
		w.say("removed %d", first)
	case "write":
		for i := range count {
			pages[i*lazymig.PageSize] = 0xff
		}
		w.say("wrote %d", first)
	}
}
