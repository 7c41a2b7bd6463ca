package uffd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// inject creates a userfaultfd in the child by ptrace.
func (c *child) inject(deviceFD int) int {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 20*time.Second)
	defer cancel()
	fd, err := CreateIn(ctx, c.pid, deviceFD)
	check(c.t, err)
	return fd
}

// waitBlocked waits until the child's main thread is in a system call.
func (c *child) waitBlocked(number int) {
	c.t.Helper()
	eventually(c.t, fmt.Sprintf("the main thread is in system call %d", number), func() bool {
		call, err := os.ReadFile(fmt.Sprintf("/proc/%d/syscall", c.pid))
		check(c.t, err)
		return strings.HasPrefix(string(call), strconv.Itoa(number)+" ")
	})
}

// wantState waits until the child's main thread is in a state, such as "T".
func (c *child) wantState(state string) {
	c.t.Helper()
	eventually(c.t, "the child is in state "+state, func() bool {
		return strings.HasPrefix(statusField(c.pid, "State"), state)
	})
}

// wantServed proves that the child's descriptor is a userfaultfd of its memory.
func (c *child) wantServed(remote int) {
	c.t.Helper()
	h, err := AdoptFrom(c.pidfd, remote)
	check(c.t, err)
	defer func() { check(c.t, h.Close()) }()
	_, err = h.Handshake(FeatureEventRemove)
	check(c.t, err)
	check(c.t, h.Register(c.base, c.size()))
	r, err := NewReader(h)
	check(c.t, err)
	defer func() { check(c.t, r.Close()) }()
	at := c.served
	c.served++
	c.send("read %d", at)
	faults := readFaults(c.t, r, 1)
	if _, ok := faults[c.address(at)]; !ok {
		c.t.Fatalf("faults %+v", faults)
	}
	if n, err := h.Copy(c.address(at), pattern(at, 1)); n != page || err != nil {
		c.t.Fatalf("copy = %d, %v", n, err)
	}
	c.wantPage(at, pattern(at, 1))
	check(c.t, h.Unregister(c.base, c.size()))
}

func TestCreateIn(t *testing.T) {
	const rounds = 200_000_000
	for name, test := range map[string]struct {
		command string // for the main thread
		call    int    // system call that it is in then
		kick    bool   // it goes on when kicked
		answer  string
	}{
		"waiting for a lock":   {},
		"blocked in ppoll":     {"main ppoll", unix.SYS_PPOLL, true, "ppoll 1 <nil>"},
		"blocked in read":      {"main read", unix.SYS_READ, true, "read 1 <nil>"},
		"blocked in nanosleep": {"main nanosleep 400", unix.SYS_NANOSLEEP, false, "nanosleep true <nil>"},
		"computing":            {fmt.Sprintf("main compute %d", rounds/10), 0, false, fmt.Sprintf("compute %d", compute(rounds/10))},
	} {
		t.Run(name, func(t *testing.T) {
			checkDescriptors(t)
			c := startChild(t)
			c.mapMemory(shared, 4)
			if test.command != "" {
				c.send("%s", test.command)
			}
			if test.kick || test.call == unix.SYS_NANOSLEEP {
				c.waitBlocked(test.call)
			}
			remote := c.inject(-1)
			for range 4 {
				c.inject(-1)
			}
			if test.kick {
				c.silent("main")
				c.send("kick")
			}
			if test.answer != "" {
				if got := c.expect("main"); got != test.answer {
					t.Errorf("the main thread returned %q, want %q", got, test.answer)
				}
			}
			c.wantServed(remote)
		})
	}
}

func TestCreateInFromDevice(t *testing.T) {
	c := startChild(t)
	c.mapMemory(anonymous, 4)
	c.send("device")
	device, err := strconv.Atoi(c.expect("device"))
	check(t, err)
	c.wantServed(c.inject(device))
	// A descriptor that is something else: the system call is the fallback.
	c.wantServed(c.inject(0))
	c.wantServed(c.inject(12345))
}

// TestCreateInUnderSignals injects while signals arrive all the time. None may
// be lost, and no handler may start on registers that are not the thread's.
func TestCreateInUnderSignals(t *testing.T) {
	const rounds = 30_000_000
	for command, want := range map[string]string{
		"main ppolls":                          "ppolls 1 <nil>",
		fmt.Sprintf("main compute %d", rounds): fmt.Sprintf("compute %d", compute(rounds)),
	} {
		t.Run(command, func(t *testing.T) {
			c := startChild(t)
			c.mapMemory(shared, 4)
			c.send("alarm")
			c.expect("alarm on")
			c.send("%s", command)
			var remote int
			for range 40 {
				remote = c.inject(-1)
			}
			before := c.alarms()
			eventually(t, "alarms go on", func() bool { return c.alarms() > before+10 })
			c.send("kick")
			if got := c.expect("main"); got != want {
				t.Errorf("the main thread returned %q, want %q", got, want)
			}
			c.wantServed(remote)
		})
	}
}

func (c *child) alarms() int {
	c.t.Helper()
	c.send("alarms")
	n, err := strconv.Atoi(c.expect("alarms"))
	check(c.t, err)
	return n
}

// TestCreateInStopped: a process that is stopped stays stopped.
func TestCreateInStopped(t *testing.T) {
	c := startChild(t)
	c.mapMemory(shared, 4)
	check(t, unix.Kill(c.pid, unix.SIGSTOP))
	c.wantState("T")
	remote := c.inject(-1)
	c.wantState("T")
	c.inject(-1)
	c.wantState("T")
	check(t, unix.Kill(c.pid, unix.SIGCONT))
	c.silent("main")
	c.wantServed(remote)
}

// TestCreateInWhileStopping has somebody else stop and continue the process all
// the time.
func TestCreateInWhileStopping(t *testing.T) {
	c := startChild(t)
	c.mapMemory(shared, 4)
	c.send("main ppolls")
	done := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				_ = unix.Kill(c.pid, unix.SIGSTOP)
				runtime.Gosched()
				_ = unix.Kill(c.pid, unix.SIGCONT)
			}
		}
	})
	var remote int
	for range 40 {
		remote = c.inject(-1)
	}
	close(done)
	group.Wait()
	c.send("kick")
	if got := c.expect("main"); got != "ppolls 1 <nil>" {
		t.Errorf("the main thread returned %q", got)
	}
	c.wantServed(remote)
}

// TestCreateInUnstoppable has the main thread in a wait that ptrace cannot
// interrupt. The context bounds the attempt, and the process is not harmed.
func TestCreateInUnstoppable(t *testing.T) {
	checkDescriptors(t)
	c := startChild(t)
	c.mapMemory(shared, 4)
	c.send("main vfork")
	c.wantState("D")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := CreateIn(ctx, c.pid, -1)
	wantErr(t, err, context.DeadlineExceeded)
	if !strings.Contains(err.Error(), "state D") {
		t.Errorf("error does not say why: %v", err)
	}
	c.send("kick")
	if got := c.expect("main"); got != "vfork <nil>" {
		t.Errorf("the main thread returned %q", got)
	}
	eventually(t, "it is not traced any more", func() bool { return statusField(c.pid, "TracerPid") == "0" })
	c.wantServed(c.inject(-1))
}

func TestCreateInCancelled(t *testing.T) {
	c := startChild(t)
	c.mapMemory(shared, 4)
	cause := errors.New("the operator does not want it any more")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if _, err := CreateIn(ctx, c.pid, -1); err != nil {
		wantErr(t, err, cause)
	}
	eventually(t, "it is not traced any more", func() bool { return statusField(c.pid, "TracerPid") == "0" })
	c.wantServed(c.inject(-1))
}

func TestCreateInTracedAlready(t *testing.T) {
	c := startChild(t)
	done, attached := make(chan struct{}), make(chan error)
	var tracer int
	onReturn := make(chan struct{})
	go func() {
		defer close(onReturn)
		onOwnThread(func() {
			tracer = unix.Gettid()
			attached <- unix.PtraceSeize(c.pid)
			<-done
		})
	}()
	check(t, <-attached)
	_, err := CreateIn(t.Context(), c.pid, -1)
	wantErr(t, err, unix.EPERM)
	if want := fmt.Sprintf("thread %d traces it already", tracer); !strings.Contains(err.Error(), want) {
		t.Errorf("error does not say %q: %v", want, err)
	}
	close(done)
	<-onReturn
}

func TestCreateInEnded(t *testing.T) {
	checkDescriptors(t)
	c := startChild(t)
	check(t, c.cmd.Process.Kill())
	eventually(t, "the child has ended", func() bool { return hasEnded(c.pidfd) })
	if _, err := CreateIn(t.Context(), c.pid, -1); err == nil {
		t.Error("created a userfaultfd in a process that ended")
	}
	_, err := CreateIn(t.Context(), 1<<22-1, -1)
	wantErr(t, err, unix.ESRCH)
}

// TestCreateInDying kills the process in the middle of injections.
func TestCreateInDying(t *testing.T) {
	checkDescriptors(t)
	for range 5 {
		c := startChild(t)
		var group sync.WaitGroup
		group.Go(func() {
			for {
				if _, err := CreateIn(t.Context(), c.pid, -1); err != nil {
					return
				}
			}
		})
		eventually(t, "injections run", func() bool { return strings.Contains(descriptors(c.pid), "userfaultfd") })
		check(t, c.cmd.Process.Kill())
		group.Wait()
	}
}

// descriptors lists what process pid has open.
func descriptors(pid int) string {
	folder := fmt.Sprintf("/proc/%d/fd/", pid)
	entries, _ := os.ReadDir(folder)
	var list strings.Builder
	for _, entry := range entries {
		kind, _ := os.Readlink(folder + entry.Name())
		fmt.Fprintln(&list, entry.Name(), kind)
	}
	return list.String()
}
