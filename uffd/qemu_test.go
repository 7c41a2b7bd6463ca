package uffd

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const qemuMemory = 64 << 20

// vmm is a stock QEMU that waits for an incoming migration.
type vmm struct {
	t     *testing.T
	pid   int
	pidfd int
	ram   string
	conn  *net.UnixConn
	lines *bufio.Reader
}

func startQEMU(t *testing.T, daemonize bool, extra ...string) *vmm {
	t.Helper()
	needRoot(t)
	binary, err := exec.LookPath("qemu-system-x86_64")
	need(t, err == nil, "needs qemu-system-x86_64: %v", err)
	folder := t.TempDir()
	ram, err := os.CreateTemp("/dev/shm", "lazymig-uffd-test-")
	check(t, err)
	t.Cleanup(func() { check(t, os.Remove(ram.Name())) })
	check(t, errors.Join(ram.Truncate(qemuMemory), ram.Close()))
	socket, pidfile := filepath.Join(folder, "qmp"), filepath.Join(folder, "pid")
	cmd := exec.Command(binary, append([]string{
		"-accel", "tcg", "-m", strconv.Itoa(qemuMemory >> 20), "-nodefaults", "-display", "none",
		"-object", fmt.Sprintf("memory-backend-file,id=ram0,mem-path=%s,size=%d,share=on", ram.Name(), qemuMemory),
		"-machine", "pc,memory-backend=ram0", "-incoming", "defer", "-S",
		"-qmp", "unix:" + socket + ",server=on,wait=off", "-pidfile", pidfile,
	}, extra...)...)
	cmd.Stderr = os.Stderr
	v := &vmm{t: t, ram: ram.Name()}
	if daemonize {
		check(t, cmd.Run())
	} else {
		check(t, cmd.Start())
		t.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
	}
	eventually(t, "QEMU has written its process number", func() bool {
		text, _ := os.ReadFile(pidfile)
		_, err := fmt.Sscan(string(text), &v.pid)
		return err == nil
	})
	v.pidfd, err = unix.PidfdOpen(v.pid, 0)
	check(t, err)
	t.Cleanup(v.kill)
	v.connect(socket)
	return v
}

func (v *vmm) kill() {
	_ = unix.PidfdSendSignal(v.pidfd, unix.SIGKILL, nil, 0)
	eventually(v.t, "QEMU has ended", func() bool { return hasEnded(v.pidfd) })
	check(v.t, unix.Close(v.pidfd))
}

func (v *vmm) connect(socket string) {
	v.t.Helper()
	eventually(v.t, "QEMU's monitor listens", func() bool {
		conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
		v.conn = conn
		return err == nil
	})
	v.t.Cleanup(func() { _ = v.conn.Close() })
	check(v.t, v.conn.SetDeadline(time.Now().Add(time.Minute)))
	v.lines = bufio.NewReader(v.conn)
	_, err := v.lines.ReadBytes('\n')
	check(v.t, err)
	v.execute("qmp_capabilities", nil, -1)
}

// execute runs a QMP command, with a descriptor if fd ≥ 0, and returns its result.
func (v *vmm) execute(command string, arguments map[string]any, fd int) string {
	v.t.Helper()
	text, err := json.Marshal(struct {
		Execute   string         `json:"execute"`
		Arguments map[string]any `json:"arguments,omitempty"`
	}{command, arguments})
	check(v.t, err)
	var rights []byte
	if fd >= 0 {
		rights = unix.UnixRights(fd)
	}
	_, _, err = v.conn.WriteMsgUnix(text, rights, nil)
	check(v.t, err)
	for {
		line, err := v.lines.ReadBytes('\n')
		check(v.t, err)
		var answer struct{ Event, Return, Error json.RawMessage }
		check(v.t, json.Unmarshal(line, &answer))
		if answer.Error != nil {
			v.t.Fatalf("%s: %s", command, answer.Error)
		}
		if answer.Event == nil {
			return string(answer.Return)
		}
	}
}

// descriptor returns QEMU's descriptor whose kind contains text.
func (v *vmm) descriptor(text string) int {
	v.t.Helper()
	for line := range strings.Lines(descriptors(v.pid)) {
		number, kind, _ := strings.Cut(line, " ")
		if strings.Contains(kind, text) {
			fd, err := strconv.Atoi(number)
			check(v.t, err)
			return fd
		}
	}
	v.t.Fatalf("QEMU has no descriptor of %s", text)
	return -1
}

// passDevice gives QEMU an open /dev/userfaultfd and returns its number there.
func (v *vmm) passDevice() int {
	v.t.Helper()
	device, err := OpenDevice()
	check(v.t, err)
	defer func() { check(v.t, device.Close()) }()
	v.execute("getfd", map[string]any{"fdname": "userfaultfd"}, int(device.Fd()))
	return v.descriptor(devicePath)
}

// mapping returns where the guest's RAM is in QEMU.
func (v *vmm) mapping() Range {
	v.t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", v.pid))
	check(v.t, err)
	for line := range strings.Lines(string(maps)) {
		var start, end uint64
		if strings.Contains(line, v.ram) {
			_, err := fmt.Sscanf(line, "%x-%x", &start, &end)
			check(v.t, err)
			return Range{start, end - start}
		}
	}
	v.t.Fatal("QEMU has not mapped its RAM file")
	return Range{}
}

// wantGuestPage reads guest memory by the monitor while its fault is served
// through the userfaultfd that QEMU has as descriptor remote.
func (v *vmm) wantGuestPage(remote int) {
	v.t.Helper()
	const guestAddress = 0x200000
	h, err := AdoptFrom(v.pidfd, remote)
	check(v.t, err)
	defer func() { check(v.t, h.Close()) }()
	_, err = h.Handshake(FeatureEventRemove)
	check(v.t, err)
	ram := v.mapping()
	check(v.t, h.Register(ram.Start, ram.Length))
	r, err := NewReader(h)
	check(v.t, err)
	defer func() { check(v.t, r.Close()) }()
	served := make(chan error, 1)
	go func() { served <- serveGuest(h, r, ram.Start+guestAddress) }()
	text := v.execute("human-monitor-command", map[string]any{"command-line": fmt.Sprintf("xp /1xw %#x", guestAddress)}, -1)
	check(v.t, r.Close())
	wantErr(v.t, <-served, os.ErrClosed)
	if !strings.Contains(text, "0xdeadbeef") {
		v.t.Errorf("QEMU reads %s from the guest's memory", text)
	}
	check(v.t, h.Unregister(ram.Start, ram.Length))
}

// serveGuest answers faults until the reader is closed: the page at address
// with a pattern, others with zeros. A thread that a signal takes out of its
// wait takes its fault along and brings it again: a batch may be empty, and a
// page present already.
func serveGuest(h *Handle, r *Reader, address uint64) error {
	data := []byte(strings.Repeat("\xef\xbe\xad\xde", page/4))
	var b Batch
	for {
		if err := r.Read(&b, -1); err != nil {
			return err
		}
		for _, fault := range b.Faults {
			var err error
			if fault.Address == address {
				_, err = h.Copy(fault.Address, data)
			} else {
				_, err = h.ZeroPage(fault.Address, page)
			}
			if err != nil && !errors.Is(err, unix.EEXIST) {
				return err
			}
		}
	}
}

func (v *vmm) wantAnswers() {
	v.t.Helper()
	if status := v.execute("query-status", nil, -1); !strings.Contains(status, "inmigrate") {
		v.t.Errorf("query-status: %s", status)
	}
}

var sandbox = []string{"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"}

// daemonSandbox leaves out what QEMU forbids itself: a sandbox that denies
// spawn kills it when it forks into the background, and one that denies
// elevateprivileges when it changes its user or session.
var daemonSandbox = []string{"-sandbox", "on,obsolete=deny,resourcecontrol=deny"}

func TestQEMU(t *testing.T) {
	for name, test := range map[string]struct {
		arguments  []string
		daemonize  bool
		withDevice bool
	}{
		"privileged":              {nil, false, false},
		"unprivileged":            {[]string{"-runas", "nobody"}, false, true},
		"sandbox":                 {sandbox, false, true},
		"sandbox and system call": {sandbox, false, false},
		"daemon":                  {[]string{"-daemonize"}, true, true},
		"unprivileged daemon":     {[]string{"-daemonize", "-runas", "nobody"}, true, true},
		"all of it":               {append([]string{"-daemonize", "-runas", "nobody"}, daemonSandbox...), true, true},
	} {
		t.Run(name, func(t *testing.T) {
			checkDescriptors(t)
			v := startQEMU(t, test.daemonize, test.arguments...)
			device := -1
			if test.withDevice {
				device = v.passDevice()
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			begin := time.Now()
			remote, err := CreateIn(ctx, v.pid, device)
			check(t, err)
			t.Logf("created descriptor %d in QEMU in %v", remote, time.Since(begin))
			v.wantAnswers()
			v.wantGuestPage(remote)
			v.wantAnswers()
		})
	}
}

// TestQEMUWithoutPermission: the system call is refused to an unprivileged
// QEMU, and the error says what to do.
func TestQEMUWithoutPermission(t *testing.T) {
	checkDescriptors(t)
	text, err := os.ReadFile("/proc/sys/vm/unprivileged_userfaultfd")
	check(t, err)
	if strings.TrimSpace(string(text)) != "0" {
		t.Skip("vm.unprivileged_userfaultfd is set: nothing is refused")
	}
	v := startQEMU(t, false, "-runas", "nobody")
	_, err = CreateIn(t.Context(), v.pid, -1)
	wantErr(t, err, unix.EPERM)
	if !strings.Contains(err.Error(), devicePath) {
		t.Errorf("error does not say what to do: %v", err)
	}
	_, err = CreateIn(t.Context(), v.pid, 0)
	wantErr(t, err, unix.EPERM)
	wantErr(t, err, unix.ENOTTY)
	v.wantAnswers()
	remote, err := CreateIn(t.Context(), v.pid, v.passDevice())
	check(t, err)
	v.wantGuestPage(remote)
}
