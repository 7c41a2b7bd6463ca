package firecracker

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lazymig/lazymig/uffd"
)

// childEnv makes the test binary a VMM that hands over what the value says to
// the socket in its second part, and then waits to be killed.
const childEnv = "LAZYMIG_FIRECRACKER_CHILD"

func TestMain(m *testing.M) {
	if socket := os.Getenv(childEnv); socket != "" {
		hostileVMM(socket)
	}
	// Go's poller makes its descriptors when they are first needed.
	read, write, err := os.Pipe()
	if err != nil {
		panic(err)
	}
	if err := errors.Join(read.Close(), write.Close()); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// hostileVMM hands a real userfaultfd over beside garbage and keeps no copy.
func hostileVMM(socket string) {
	h, err := uffd.Open()
	if err != nil {
		panic(err)
	}
	conn, err := net.Dial("unix", socket)
	if err != nil {
		panic(err)
	}
	if _, _, err := conn.(*net.UnixConn).WriteMsgUnix([]byte("garbage"), unix.UnixRights(h.Fd()), nil); err != nil {
		panic(err)
	}
	if err := h.Close(); err != nil {
		panic(err)
	}
	select {}
}

// descriptors counts what this process has open.
func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// checkDescriptors fails the test if it leaves any behind.
func checkDescriptors(t *testing.T) {
	t.Helper()
	before := descriptors(t)
	t.Cleanup(func() {
		if after := descriptors(t); after != before {
			t.Errorf("%d descriptors before, %d after", before, after)
		}
	})
}

func listen(t *testing.T) (*Listener, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := Listen(path)
	check(t, err)
	t.Cleanup(func() { check(t, l.Close()) })
	return l, path
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func openUffd(t *testing.T) *uffd.Handle {
	t.Helper()
	h, err := uffd.Open()
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("no userfaultfd: ", err)
	}
	t.Cleanup(func() { check(t, h.Close()) })
	return h
}

func memfd(t *testing.T) int {
	t.Helper()
	fd, err := unix.MemfdCreate("lazymig-test", unix.MFD_CLOEXEC)
	check(t, err)
	t.Cleanup(func() { check(t, unix.Close(fd)) })
	return fd
}

// dial connects as a VMM does.
func dial(t *testing.T, path string) *net.UnixConn {
	t.Helper()
	conn, err := net.Dial("unix", path)
	check(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn.(*net.UnixConn)
}

func TestHandoff(t *testing.T) {
	checkDescriptors(t)
	l, path := listen(t)
	h := openUffd(t)
	want := []Region{{Address: 1 << 30, Size: mib, PageSize: 4096}}
	conn := dial(t, path)
	check(t, Send(conn, want, h.Fd()))
	got, err := l.Accept(t.Context())
	check(t, err)
	defer func() { check(t, got.Close()) }()
	if len(got.Regions) != 1 || got.Regions[0] != want[0] || got.PID != os.Getpid() {
		t.Errorf("accepted %+v", got)
	}
	check(t, uffd.CheckKind(got.Handle.Fd()))
	if flags, err := unix.FcntlInt(uintptr(got.Handle.Fd()), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("the descriptor is inherited by programs: %v", err)
	}
	if got.Ended() {
		t.Error("this process has ended")
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("reason")
	cancel(reason)
	if err := got.Wait(ctx); !errors.Is(err, reason) {
		t.Errorf("a cancelled wait returned %v", err)
	}
	info, err := os.Lstat(path)
	check(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the socket's mode is %v", info.Mode())
	}
}

// TestSplit sends a message in pieces, the descriptor with the first or last.
func TestSplit(t *testing.T) {
	checkDescriptors(t)
	l, path := listen(t)
	h := openUffd(t)
	text := string(golden(t, "v1.12.json"))
	for _, first := range []bool{true, false} {
		conn := dial(t, path)
		sent := make(chan error, 1)
		go func() {
			for i, piece := range []string{text[:1], text[1:20], text[20:]} {
				var rights []byte
				if (i == 0) == first && i != 1 {
					rights = unix.UnixRights(h.Fd())
				}
				if _, _, err := conn.WriteMsgUnix([]byte(piece), rights, nil); err != nil {
					sent <- err
					return
				}
			}
			sent <- nil
		}()
		got, err := l.Accept(t.Context())
		check(t, err)
		check(t, <-sent)
		check(t, got.Close())
	}
}

// TestRefused is a table of hostile VMMs: each is refused with words, nothing
// is leaked, and the next one is served.
func TestRefused(t *testing.T) {
	checkDescriptors(t)
	h := openUffd(t)
	good := string(golden(t, "v1.12.json"))
	other := memfd(t)
	type attack struct {
		text string
		fds  []int
		want error
		word string
	}
	attacks := map[string]attack{
		"no descriptor":      {good, nil, ErrDescriptor, "0 descriptors"},
		"two descriptors":    {good, []int{h.Fd(), h.Fd()}, ErrDescriptor, "2 descriptors"},
		"three descriptors":  {good, []int{h.Fd(), other, other}, ErrDescriptor, "3 descriptors"},
		"twenty descriptors": {good, []int{5: other, 19: h.Fd()}, ErrDescriptor, "more than 3"},
		"a memfd":            {good, []int{other}, ErrDescriptor, "memfd"},
		"nothing":            {"", nil, ErrMessage, "nothing was sent"},
		"cut":                {good[:40], []int{h.Fd()}, ErrMessage, "cut short"},
		"guest_memfd":        {string(golden(t, "guest-memfd.json")), []int{h.Fd(), other, other}, ErrGuestMemfd, "guest_memfd"},
		"endless":            {"[" + strings.Repeat(" ", maxMessage+readBytes), []int{h.Fd()}, ErrMessage, "more than"},
	}
	for name, text := range badMessages() {
		attacks[name] = attack{text, []int{h.Fd()}, ErrMessage, ""}
	}
	for name, a := range attacks {
		t.Run(name, func(t *testing.T) {
			checkDescriptors(t)
			l, path := listen(t)
			conn := dial(t, path)
			sent := make(chan struct{})
			go func() {
				defer close(sent)
				var rights []byte
				if len(a.fds) > 0 {
					rights = unix.UnixRights(a.fds...)
				}
				if a.text != "" {
					// A handler that has seen enough closes the connection.
					n, _, _ := conn.WriteMsgUnix([]byte(a.text), rights, nil)
					_, _ = conn.Write([]byte(a.text)[max(n, 0):])
				}
				_ = conn.CloseWrite()
			}()
			got, err := l.Accept(t.Context())
			<-sent
			refused, ok := errors.AsType[*RefusedError](err)
			if !ok || !errors.Is(err, a.want) || !strings.Contains(err.Error(), a.word) || got != nil {
				t.Fatalf("got %v, want %v with %q", err, a.want, a.word)
			}
			if refused.PID != os.Getpid() || refused.Killed {
				t.Errorf("refused %+v", refused)
			}
			next := dial(t, path)
			check(t, Send(next, []Region{{Address: 1 << 30, Size: mib, PageSize: 4096}}, h.Fd()))
			got, err = l.Accept(t.Context())
			check(t, err)
			check(t, got.Close())
		})
	}
}

// TestKilled: a VMM that has handed its userfaultfd over in vain must not go
// on, because it might read zeros.
func TestKilled(t *testing.T) {
	checkDescriptors(t)
	openUffd(t)
	l, path := listen(t)
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childEnv+"="+path)
	child.Stderr = os.Stderr
	check(t, child.Start())
	_, err := l.Accept(t.Context())
	refused, ok := errors.AsType[*RefusedError](err)
	if !ok || !refused.Killed || refused.PID != child.Process.Pid {
		t.Fatalf("got %v", err)
	}
	exit, ok := errors.AsType[*exec.ExitError](child.Wait())
	if !ok || exit.Sys().(interface{ Signaled() bool }).Signaled() == false {
		t.Errorf("the VMM ended with %v", exit)
	}
}

// TestSilent: a VMM that says nothing does not keep others out.
func TestSilent(t *testing.T) {
	checkDescriptors(t)
	h := openUffd(t)
	l, path := listen(t)
	dial(t, path)
	check(t, Send(dial(t, path), []Region{{Address: 1 << 30, Size: mib, PageSize: 4096}}, h.Fd()))
	ctx, cancel := context.WithCancelCause(t.Context())
	type result struct {
		vmm *Handoff
		err error
	}
	results := make(chan result, 2)
	for range 2 {
		go func() {
			vmm, err := l.Accept(ctx)
			results <- result{vmm, err}
		}()
	}
	first := <-results
	check(t, first.err)
	check(t, first.vmm.Close())
	reason := errors.New("reason")
	cancel(reason)
	if second := <-results; !errors.Is(second.err, reason) {
		t.Errorf("the silent one ended with %v", second.err)
	}
}

func TestListen(t *testing.T) {
	checkDescriptors(t)
	l, path := listen(t)
	if _, err := Listen(path); !errors.Is(err, ErrInUse) {
		t.Errorf("listen twice: %v", err)
	}
	if _, err := l.Accept(t.Context()); !errors.Is(err, ErrMessage) {
		t.Errorf("the look of the other listener: %v", err)
	}
	// A socket whose listener died is replaced; what replaced it stays.
	stale := filepath.Join(t.TempDir(), "stale")
	dead, err := net.Listen("unix", stale)
	check(t, err)
	dead.(*net.UnixListener).SetUnlinkOnClose(false)
	check(t, dead.Close())
	first, err := Listen(stale)
	check(t, err)
	check(t, os.Remove(stale))
	second, err := Listen(stale)
	check(t, err)
	check(t, first.Close())
	if _, err := os.Lstat(stale); err != nil {
		t.Errorf("closing one listener removed the socket of another: %v", err)
	}
	check(t, second.Close())
	check(t, second.Close())
	if _, err := os.Lstat(stale); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket was left behind: %v", err)
	}
	if _, err := second.Accept(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept after close: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	check(t, os.WriteFile(file, []byte("precious"), 0o600))
	if _, err := Listen(file); !errors.Is(err, ErrNotSocket) {
		t.Errorf("listen on a file: %v", err)
	}
}

// TestCancel: a cancelled Accept leaves the listener as it was.
func TestCancel(t *testing.T) {
	checkDescriptors(t)
	h := openUffd(t)
	l, path := listen(t)
	for range 20 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		if _, err := l.Accept(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		cancel()
	}
	check(t, Send(dial(t, path), []Region{{Address: 1 << 30, Size: mib, PageSize: 4096}}, h.Fd()))
	got, err := l.Accept(t.Context())
	check(t, err)
	check(t, got.Close())
}
