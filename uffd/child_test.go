package uffd

import (
	"bufio"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A child is this test binary, started again: it maps memory and touches it on
// command, while the test process serves the faults. Commands are lines on its
// standard input. Each touch runs on a thread of its own and answers when it is
// done; "main" commands run on the main thread, which ptrace uses.

// child is the parent's end.
type child struct {
	t     testing.TB
	cmd   *exec.Cmd
	stdin *os.File
	lines chan string
	held  []string // answers that somebody else waits for
	pid   int
	pidfd int
	base  uint64
	pages int

	served int // pages that wantServed has used
}

func startChild(t testing.TB) *child {
	t.Helper()
	needRoot(t)
	read, write, err := os.Pipe()
	check(t, err)
	cmd := exec.Command(os.Args[0])
	// Without collection and preemption no thread of the child waits for one
	// that waits for a page. A waiting thread keeps its P: there have to be many.
	cmd.Env = append(os.Environ(), childEnv+"=1", "GOGC=off", "GODEBUG=asyncpreemptoff=1", "GOMAXPROCS=144")
	cmd.Stdin, cmd.Stderr = read, os.Stderr
	stdout, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	check(t, read.Close())
	c := &child{t: t, cmd: cmd, stdin: write, lines: make(chan string, 1024), pid: cmd.Process.Pid}
	go func() {
		defer close(c.lines)
		for scanner := bufio.NewScanner(stdout); scanner.Scan(); {
			c.lines <- scanner.Text()
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		for range c.lines { // until the end of its output
		}
		_ = cmd.Wait()
		check(t, errors.Join(unix.Close(c.pidfd), write.Close()))
	})
	c.pidfd, err = unix.PidfdOpen(c.pid, 0)
	check(t, err)
	return c
}

func (c *child) send(format string, args ...any) {
	c.t.Helper()
	_, err := fmt.Fprintf(c.stdin, format+"\n", args...)
	check(c.t, err)
}

// expect waits for an answer that begins with prefix and returns the rest.
func (c *child) expect(prefix string) string {
	c.t.Helper()
	for i, line := range c.held {
		if rest, ok := strings.CutPrefix(line, prefix); ok {
			c.held = append(c.held[:i], c.held[i+1:]...)
			return strings.TrimSpace(rest)
		}
	}
	limit := time.After(20 * time.Second)
	for {
		select {
		case line, ok := <-c.lines:
			if !ok {
				c.t.Fatalf("the child ended before it said %q", prefix)
			}
			if rest, ok := strings.CutPrefix(line, prefix); ok {
				return strings.TrimSpace(rest)
			}
			c.held = append(c.held, line)
		case <-limit:
			c.t.Fatalf("the child did not say %q; it said %q", prefix, c.held)
		}
	}
}

// silent fails the test if the child has said something that begins with prefix.
func (c *child) silent(prefix string) {
	c.t.Helper()
	c.send("echo")
	c.expect("echo")
	for _, line := range c.held {
		if strings.HasPrefix(line, prefix) {
			c.t.Fatalf("the child said %q too early", line)
		}
	}
}

func (c *child) mapMemory(kind memoryKind, pages int) {
	c.t.Helper()
	c.send("map %s %d", kind, pages)
	_, err := fmt.Sscan(c.expect("mapped"), &c.base)
	check(c.t, err)
	c.pages = pages
}

func (c *child) address(pageIndex int) uint64 { return c.base + uint64(pageIndex)*page }

func (c *child) size() uint64 { return uint64(c.pages) * page }

// open has the child create a userfaultfd and returns its number there.
func (c *child) open() int {
	c.t.Helper()
	c.send("open")
	var fd int
	_, err := fmt.Sscan(c.expect("opened"), &fd)
	check(c.t, err)
	return fd
}

// adopt duplicates the child's descriptor remoteFD.
func (c *child) adopt(remoteFD int) *Handle {
	c.t.Helper()
	h, err := AdoptFrom(c.pidfd, remoteFD)
	check(c.t, err)
	c.t.Cleanup(func() { check(c.t, h.Close()) })
	return h
}

// serve maps memory in the child and registers it with a userfaultfd of the
// child's own making.
func (c *child) serve(kind memoryKind, pages int, want Feature) (*Handle, *Reader) {
	c.t.Helper()
	c.mapMemory(kind, pages)
	h := c.adopt(c.open())
	_, err := h.Handshake(want)
	check(c.t, err)
	check(c.t, h.Register(c.base, c.size()))
	return h, newReader(c.t, h)
}

func newReader(t testing.TB, h *Handle) *Reader {
	t.Helper()
	r, err := NewReader(h)
	check(t, err)
	t.Cleanup(func() { check(t, r.Close()) })
	return r
}

// wantPage fails the test unless the child reads data in a page.
func (c *child) wantPage(pageIndex int, data []byte) {
	c.t.Helper()
	want := fmt.Sprintf("%08x", crc32.ChecksumIEEE(data))
	if got := c.expect(fmt.Sprintf("read %d ", pageIndex)); !strings.HasPrefix(got, want) {
		c.t.Fatalf("page %d reads as %s, want %s", pageIndex, got, want)
	}
}

// childMain is the child's end.
func childMain() {
	w := &worker{main: make(chan func()), alarms: new(atomic.Int64)}
	check2(w.openPipe())
	go func() {
		for scanner := bufio.NewScanner(os.Stdin); scanner.Scan(); {
			w.obey(strings.Fields(scanner.Text()))
		}
		os.Exit(0) // the parent is gone
	}()
	for work := range w.main {
		work()
	}
}

func check2(err error) {
	if err != nil {
		panic(err)
	}
}

type worker struct {
	mu     sync.Mutex // one line at a time
	memory []byte
	file   int
	device *os.File
	main   chan func()
	pipe   [2]int
	alarms *atomic.Int64
}

func (w *worker) openPipe() error { return unix.Pipe2(w.pipe[:], unix.O_CLOEXEC) }

func (w *worker) say(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fmt.Printf(format+"\n", args...)
}

// onThread runs f on a thread of its own and answers with what it returns.
func (w *worker) onThread(f func() string) {
	go func() {
		runtime.LockOSThread()
		w.say("%s", f())
	}()
}

func (w *worker) obey(words []string) {
	var n [2]int
	for i := range min(len(words)-1, 2) {
		_, _ = fmt.Sscan(words[i+1], &n[i])
	}
	switch words[0] {
	case "echo":
		w.say("echo")
	case "map":
		memory, file, err := mapMemory(memoryKind(words[1]), n[1])
		check2(err)
		w.memory, w.file = memory, file
		w.say("mapped %d", addressOf(memory))
	case "open":
		h, err := Open()
		check2(err)
		w.say("opened %d", h.Fd())
	case "device":
		f, err := OpenDevice()
		check2(err)
		w.device = f
		w.say("device %d", f.Fd())
	case "close":
		check2(unix.Close(n[0]))
		w.say("closed")
	case "alarm":
		w.storm()
	case "alarms":
		w.say("alarms %d", w.alarms.Load())
	case "kick":
		_, err := unix.Write(w.pipe[1], []byte{'k'})
		check2(err)
	case "main":
		w.main <- func() { w.say("main %s", w.onMain(words[1], n[1])) }
	default:
		w.onThread(func() string { return w.touch(words[0], n[0], n[1]) })
	}
}

// touch does something with count pages from first and says what came of it.
func (w *worker) touch(verb string, first, count int) (answer string) {
	defer func() {
		if fault := recover(); fault != nil {
			answer = fmt.Sprintf("%s %d bus", verb, first)
		}
	}()
	debug.SetPanicOnFault(true)
	pages := w.memory[first*page : (first+max(count, 1))*page]
	switch verb {
	case "read":
		return fmt.Sprintf("read %d %08x thread %d", first, crc32.ChecksumIEEE(pages), unix.Gettid())
	case "write":
		pages[5] = 0x5a
	case "pipe": // the kernel reads it
		_, err := unix.Write(w.pipe[1], pages[:8])
		check2(err)
	case "sweep":
		var sum int
		for i := range count {
			sum += int(pages[i*page])
		}
		return fmt.Sprintf("sweep %d %d", first, sum)
	case "discard":
		check2(unix.Madvise(pages, unix.MADV_DONTNEED))
	case "punch":
		mode := uint32(unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE)
		check2(unix.Fallocate(w.file, mode, int64(first*page), int64(count*page)))
	case "unmap":
		_, _, errno := unix.Syscall(unix.SYS_MUNMAP, uintptr(addressOf(pages)), uintptr(len(pages)), 0)
		check2(asError(errno))
	case "remap":
		to, _, errno := unix.Syscall6(unix.SYS_MREMAP, uintptr(addressOf(pages)), uintptr(len(pages)),
			uintptr(len(pages)), unix.MREMAP_MAYMOVE|mremapDontUnmap, 0, 0)
		check2(asError(errno))
		return fmt.Sprintf("remap %d %d", first, to)
	case "fork":
		check2(asError(forkAndExit()))
	}
	return fmt.Sprintf("%s %d", verb, first)
}

// mremapDontUnmap is MREMAP_DONTUNMAP: it makes the kernel choose a new place.
const mremapDontUnmap = 4

// forkAndExit forks a child that ends at once. Between the two it may do
// nothing that needs Go's runtime.
//
//go:norace
//go:nosplit
func forkAndExit() unix.Errno {
	pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if pid == 0 && errno == 0 {
		for {
			_, _, _ = unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
		}
	}
	return errno
}

// forkAndRead forks a child that reads a byte from fd and ends, and waits for
// that in the kernel, as vfork does, but with memory of its own.
//
//go:norace
//go:nosplit
func forkAndRead(fd uintptr) unix.Errno {
	pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD)|unix.CLONE_VFORK, 0, 0, 0, 0, 0)
	if pid == 0 && errno == 0 {
		var b byte
		_, _, _ = unix.RawSyscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(&b)), 1)
		for {
			_, _, _ = unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
		}
	}
	return errno
}

// storm sends the process SIGALRM, which the main thread gets, all the time.
func (w *worker) storm() {
	alarm := make(chan os.Signal, 1)
	signal.Notify(alarm, unix.SIGALRM)
	go func() {
		for range alarm {
			w.alarms.Add(1)
		}
	}()
	often := unix.Timeval{Usec: 150}
	_, err := unix.Setitimer(unix.ITIMER_REAL, unix.Itimerval{Interval: often, Value: often})
	check2(err)
	w.say("alarm on")
}

// onMain blocks or computes on the main thread.
func (w *worker) onMain(what string, n int) string {
	switch what {
	case "ppoll":
		ready, err := unix.Ppoll([]unix.PollFd{{Fd: int32(w.pipe[0]), Events: unix.POLLIN}}, nil, nil)
		return fmt.Sprintf("ppoll %d %v", ready, err)
	case "ppolls": // goes on after signals
		for {
			ready, err := unix.Ppoll([]unix.PollFd{{Fd: int32(w.pipe[0]), Events: unix.POLLIN}}, nil, nil)
			if !errors.Is(err, unix.EINTR) {
				return fmt.Sprintf("ppolls %d %v", ready, err)
			}
		}
	case "read":
		var b [4]byte
		n, err := unix.Read(w.pipe[0], b[:])
		return fmt.Sprintf("read %d %v", n, err)
	case "nanosleep":
		begin := time.Now()
		wish := unix.NsecToTimespec(int64(n) * int64(time.Millisecond))
		err := unix.Nanosleep(&wish, nil)
		slept := time.Since(begin)
		return fmt.Sprintf("nanosleep %v %v", slept >= time.Duration(n)*time.Millisecond, err)
	case "vfork": // until the forked child reads a byte, nothing stops this thread
		return fmt.Sprintf("vfork %v", asError(forkAndRead(uintptr(w.pipe[0]))))
	case "compute":
		return fmt.Sprintf("compute %d", compute(n))
	}
	return "?"
}

// compute keeps many registers busy; a lost one shows in the result.
func compute(rounds int) uint64 {
	a, b, c, d := uint64(1), uint64(2), uint64(3), uint64(4)
	x, y := 1.0, 2.0
	for range rounds {
		a = a*6364136223846793005 + b
		b ^= a >> 13
		c += b<<7 | a>>57
		d = d*31 + c
		x, y = y*0.5+1, x+float64(d&7)*0.25
	}
	return a ^ b ^ c ^ d ^ uint64(x*1000) ^ uint64(y*1000)
}
