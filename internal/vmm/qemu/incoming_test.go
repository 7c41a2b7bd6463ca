package qemu

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lazymig/lazymig/internal/vmm"
	"github.com/lazymig/lazymig/internal/vmm/process"

	"golang.org/x/sys/unix"
)

func TestArmLeavesRAMUntouched(t *testing.T) {
	for _, machine := range []string{"pc", "q35"} {
		t.Run(machine, func(t *testing.T) {
			x := newIncomingTest(t)
			x.start(t, x.guestArgs(machine, "-name", "guest=web", "-serial", "mon:stdio"))
			description, err := x.Describe(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if description.Name != "web" || description.Allocated != 0 || description.Running || len(description.RAM) != 1 {
				t.Errorf("description %+v", description)
			}
			checks, err := x.Preflight(t.Context(), description)
			if err != nil || vmm.Refused(checks) {
				t.Errorf("preflight: %v %+v", err, checks)
			}
			handle, mappings, err := x.Arm(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer handle.Close()
			var sum uint64
			for _, m := range mappings {
				sum += m.Length
			}
			if sum != 128<<20 {
				t.Errorf("%d bytes are registered: %+v", sum, mappings)
			}
			if n := allocated(t, x.RAMFiles()[0]); n != 0 {
				t.Errorf("%d bytes of RAM are touched", n)
			}
			score, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", x.PID()))
			if err != nil || strings.TrimSpace(string(score)) != "17" {
				t.Errorf("oom_score_adj is %s, %v", score, err)
			}
			if session, err := unix.Getsid(x.PID()); err != nil || session != x.PID() {
				t.Errorf("session %d of process %d, %v", session, x.PID(), err)
			}
		})
	}
}

// TestMove moves a guest that sits in its firmware, with QEMU started in all
// the ways that make it harder.
func TestMove(t *testing.T) {
	deny := "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
	for name, c := range map[string]struct {
		machine string
		more    []string
		isNUMA  bool
	}{
		"pc":        {machine: "pc"},
		"q35":       {machine: "q35"},
		"runas":     {machine: "q35", more: []string{"-runas", "nobody"}},
		"sandbox":   {machine: "q35", more: []string{"-sandbox", deny}},
		"daemonize": {machine: "q35", more: []string{"-daemonize"}},
		// QEMU itself can neither change its user with elevateprivileges=deny
		// nor daemonize with spawn=deny.
		"runas and sandbox": {machine: "pc", more: []string{"-sandbox", "on,obsolete=deny,spawn=deny,resourcecontrol=deny", "-runas", "65534:65534"}},
		"all":               {machine: "pc", more: []string{"-daemonize", "-sandbox", "on", "-runas", "nobody"}},
		"NUMA":              {isNUMA: true},
	} {
		t.Run(name, func(t *testing.T) {
			x := newIncomingTest(t)
			args, paths := x.guestArgs(c.machine), []string{x.ram}
			if c.isNUMA {
				args, paths = x.numaArgs(), []string{x.ram + ".dimm0", x.ram + ".node0", x.ram + ".node1", x.ram + ".spare"}
			}
			moveGuest(t, x, startSource(t, args, paths...), append(args, c.more...))
		})
	}
}

// moveGuest arms a destination, fills it by faults alone, runs the guest and
// compares what has arrived.
func moveGuest(t *testing.T, x *incomingTest, source *sourceTest, args []string) {
	t.Helper()
	x.start(t, args)
	server := x.arm(t, source.paths)
	stream, loaded, err := x.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	source.save(t, stream)
	if err := stream.Close(); err != nil {
		t.Fatal(err)
	}
	if err := receive(t, "the load", loaded); err != nil {
		t.Fatal(err)
	}
	for i, r := range x.regions {
		compareArrived(t, source.paths[i], r.path)
	}
	select {
	case <-x.Resumed():
		t.Fatal("the guest runs before Run")
	default:
	}
	if err := x.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := x.Announce(t.Context()); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "a fault of the guest", func() bool { return server.served.Load() > 0 })
	description, err := x.Describe(t.Context())
	if err != nil || !description.Running {
		t.Fatalf("after Run: %+v, %v", description, err)
	}
}

// compareArrived compares the pages that have arrived with the source's.
func compareArrived(t *testing.T, source, destination string) {
	t.Helper()
	a, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(destination)
	if err != nil {
		t.Fatal(err)
	}
	zero := make([]byte, 4096)
	for i := 0; i < len(a); i += 4096 {
		if page := b[i : i+4096]; !bytes.Equal(page, zero) && !bytes.Equal(page, a[i:i+4096]) {
			t.Errorf("%s: the page at %#x differs from the source's", destination, i)
		}
	}
}

func TestNUMAMappingsCoverAllRAM(t *testing.T) {
	x := newIncomingTest(t)
	x.start(t, x.numaArgs())
	description, err := x.Describe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	handle, mappings, err := x.Arm(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer handle.Close()
	layout := description.Layout()
	if len(layout) != 3 || len(x.RAMFiles()) != 4 {
		t.Fatalf("layout %+v, files %q", layout, x.RAMFiles())
	}
	covered := make([]uint64, len(layout))
	for _, m := range mappings {
		covered[m.Region] += m.Length
	}
	for i, r := range layout {
		if covered[i] != r.Size || x.regions[i].id != r.Name {
			t.Errorf("region %d is %+v: %d bytes mapped of %s", i, r, covered[i], x.regions[i].id)
		}
	}
}

func TestQEMUThatEndsAtOnce(t *testing.T) {
	for name, more := range map[string][]string{
		"bad option":            {"-device", "no-such-device"},
		"bad option, daemonize": {"-daemonize", "-device", "no-such-device"},
	} {
		t.Run(name, func(t *testing.T) {
			x := newIncomingTest(t)
			x.open(t, x.guestArgs("q35", more...))
			if err := x.Create(); err != nil {
				t.Fatal(err)
			}
			err := x.Start(t.Context())
			if err == nil || !strings.Contains(err.Error(), "no-such-device") {
				t.Errorf("Start: %v, want QEMU's words", err)
			}
			receive(t, "Exited", x.Exited())
		})
	}
}

// TestQEMUThatHangs has a server socket that waits for a client: no QEMU may
// be left, though with -daemonize it is nobody's child.
func TestQEMUThatHangs(t *testing.T) {
	for _, more := range [][]string{nil, {"-daemonize"}} {
		x := newIncomingTest(t)
		x.open(t, x.guestArgs("q35", append(more, "-chardev", "socket,id=c,path="+x.dir+"/c,server=on,wait=on")...))
		if err := x.Create(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := cancelWhen(t, func() bool {
			_, err := os.Stat(x.dir + "/c")
			return err == nil
		})
		defer cancel()
		err := x.Start(ctx)
		if err == nil || !strings.Contains(err.Error(), "wait=off") {
			t.Errorf("Start: %v, want a hint", err)
		}
		if left, err := process.FindMarked(x.mark()); err != nil || len(left) > 0 {
			t.Errorf("left: %v, %v", left, err)
		}
	}
}

func TestSameCommandLineAsARunningGuestIsHarmless(t *testing.T) {
	x := newIncomingTest(t)
	monitor := filepath.Join(x.dir, "user.sock")
	args := x.guestArgs("q35")
	source := startSource(t, append(args, "-monitor", "unix:"+monitor+",server=on,wait=off"), x.ram)
	before, err := os.ReadFile(x.ram)
	if err != nil {
		t.Fatal(err)
	}
	_, err = NewIncoming(IncomingConfig{Args: append(args, "-monitor", "unix:"+monitor+",server=on,wait=off"), Dir: x.dir, Tag: "t1"})
	if err == nil || !strings.Contains(err.Error(), "another process listens") {
		t.Errorf("a live socket: %v", err)
	}
	x.start(t, args)
	handle, _, err := x.Arm(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer handle.Close()
	after, err := os.ReadFile(x.ram)
	if err != nil || len(after) != len(before) || bytes.Count(after, []byte{0}) == len(after) {
		t.Errorf("the running guest's RAM was changed, %v", err)
	}
	if err := source.monitor.Execute(t.Context(), "query-status", nil, nil); err != nil {
		t.Errorf("the running guest: %v", err)
	}
	if x.RAMFiles()[0] == x.ram {
		t.Error("the guest's own file is used")
	}
}

func TestExistingRAMFileIsNotTouched(t *testing.T) {
	x := newIncomingTest(t)
	taken := x.ram + ".node0.lazymig-t1"
	if err := os.WriteFile(taken, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(taken)
	x.open(t, x.numaArgs())
	if err := x.Create(); err == nil {
		t.Error("Create used a file of somebody else")
	}
	if err := x.Remove(); err != nil {
		t.Error(err)
	}
	if text, err := os.ReadFile(taken); err != nil || string(text) != "mine" {
		t.Errorf("%q, %v", text, err)
	}
	if left, _ := filepath.Glob(x.ram + "*"); len(left) != 1 {
		t.Errorf("left: %q", left)
	}
}

func TestRAMFileBelongsToTheUserOfQEMU(t *testing.T) {
	x := newIncomingTest(t)
	x.start(t, x.guestArgs("q35", "-runas", "nobody"))
	var status unix.Stat_t
	if err := unix.Stat(x.RAMFiles()[0], &status); err != nil {
		t.Fatal(err)
	}
	if status.Uid != 65534 || status.Mode&0o777 != 0o600 || status.Size != 128<<20 {
		t.Errorf("owner %d, mode %o, size %d", status.Uid, status.Mode, status.Size)
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", x.PID()))
	if err != nil || !strings.Contains(string(text), "Uid:\t65534\t65534") {
		t.Errorf("QEMU is not unprivileged: %v", err)
	}
}

func TestPlacesThatAreRefused(t *testing.T) {
	x := newIncomingTest(t)
	for path, want := range map[string]string{
		"/dev/shm":              "a directory",
		"/proc/x":               "on neither a tmpfs",
		"/dev/shm/no-such/file": "create the directory",
	} {
		args := []string{"qemu-system-x86_64", "-object", "memory-backend-file,id=ram0,size=128M,share=on,mem-path=" + path}
		_, err := NewIncoming(IncomingConfig{Args: args, Dir: x.dir, Tag: "t1"})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	long := filepath.Join(x.dir, strings.Repeat("d", 100))
	if _, err := NewIncoming(IncomingConfig{Args: x.guestArgs("q35"), Dir: long, Tag: "t1"}); err == nil {
		t.Error("a socket path that is too long was accepted")
	}
	if _, err := NewIncoming(IncomingConfig{Args: x.guestArgs("q35"), Dir: x.dir, Tag: "../x"}); err == nil {
		t.Error("a tag with a slash was accepted")
	}
}
