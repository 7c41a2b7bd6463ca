package qemu

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/lazymig/lazymig/internal/vmm/qmp"
)

func TestDescribe(t *testing.T) {
	t.Parallel()
	image := filepath.Join(shortDir(t), "disk")
	if err := os.WriteFile(image, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	v := startVMM(t, join(fileRAM(t, "ram1", "32M"), fileRAM(t, "ram0", "32M"), fileRAM(t, "dimm0", "128M"), fileRAM(t, "unused", "16M"), []string{
		"-name", "guest=vm7", "-smp", "2", "-m", "64M,slots=2,maxmem=1G", "-machine", "q35",
		"-numa", "node,memdev=ram0", "-numa", "node,memdev=ram1", "-device", "pc-dimm,id=d,memdev=dimm0",
		"-drive", "file=" + image + ",if=none,id=d0,format=raw,cache=none", "-device", "virtio-blk-pci,drive=d0",
		"-blockdev", "driver=file,node-name=f1,filename=" + image + ",read-only=on,locking=off", "-device", "virtio-blk-pci,id=v1,drive=f1",
		"-drive", "if=none,id=empty,media=cdrom", "-device", "ide-cd,drive=empty",
	})...)
	g := v.attach()
	if g.PID() != v.cmd.Process.Pid || g.PIDFD() < 0 {
		t.Errorf("process %d, want %d", g.PID(), v.cmd.Process.Pid)
	}
	d, err := g.Describe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if d.Name != "vm7" || !d.Version.AtLeast(4, 0) || d.Arch != "x86_64" || d.State != "running" || !d.Running || d.Allocated == 0 || d.Allocated > 64<<20 {
		t.Errorf("description %+v", d)
	}
	if d.CPU.Type == "" || d.CPU.Count != 2 || len(d.CPU.Features) == 0 || d.Machine == "" {
		t.Errorf("machine %q, CPU %+v", d.Machine, d.CPU)
	}
	wantRAM(t, d)
	if len(d.DIMMs) != 1 || d.DIMMs[0].Backend != "dimm0" || d.DIMMs[0].Address == 0 || d.DIMMs[0].Size != 128<<20 {
		t.Errorf("DIMMs %+v", d.DIMMs)
	}
	if !slices.ContainsFunc(d.Blocks, func(b Block) bool { return b.Name == "pc.bios" && b.Size > 0 }) {
		t.Errorf("blocks %+v", d.Blocks)
	}
	wantDisks(t, d, image)
	checks := Compare(d, d)
	wantOnlyRefused(t, checks, "")
	if name, err := GuestName(t.Context(), v.path); !errors.Is(err, qmp.ErrInUse) {
		t.Errorf("name %q through a monitor in use: %v", name, err)
	}
	if err := errors.Join(g.Close(), g.Close()); err != nil {
		t.Error(err)
	}
	if name, err := GuestName(t.Context(), v.path); err != nil || name != "vm7" {
		t.Errorf("name %q, %v", name, err)
	}
}

func wantRAM(t *testing.T, d Description) {
	t.Helper()
	var ids []string
	for _, r := range d.RAM {
		ids = append(ids, r.ID)
		if !r.Shared || r.PageSize != 4096 || r.Path == "" || r.Type != "memory-backend-file" {
			t.Errorf("backend %+v", r)
		}
	}
	if !slices.Equal(ids, []string{"dimm0", "ram0", "ram1"}) {
		t.Errorf("backends %v", ids)
	}
	if n := d.Layout().Bytes(); n != 192<<20 {
		t.Errorf("%d bytes of RAM", n)
	}
}

func wantDisks(t *testing.T, d Description, image string) {
	t.Helper()
	if len(d.Disks) != 2 {
		t.Fatalf("disks %+v", d.Disks)
	}
	for i, want := range []struct {
		readOnly, direct bool
	}{{false, true}, {true, false}} {
		got := d.Disks[i]
		if got.Device == "" || got.Path != image || got.ReadOnly != want.readOnly || got.Direct != want.direct || got.Kind != DiskFile || got.Size != 1<<20 || got.Inode == 0 {
			t.Errorf("disk %+v", got)
		}
	}
}

// TestAttachBehindAManager: this process opened the socket for QEMU, as
// libvirt does, and is the peer of the connection.
func TestAttachBehindAManager(t *testing.T) {
	t.Parallel()
	needQEMU(t)
	path := filepath.Join(shortDir(t), "m")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	socket, err := l.(*net.UnixListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	for name, args := range map[string][]string{"file": plainGuest(t, "pc"), "private": {"-m", "32M"}} {
		cmd := exec.Command("qemu-system-x86_64", append([]string{
			"-accel", "tcg", "-nodefaults", "-display", "none", "-chardev", "socket,id=c,fd=3,server=on,wait=off", "-mon", "chardev=c,mode=control",
		}, args...)...)
		cmd.ExtraFiles = []*os.File{socket}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		g, err := Attach(t.Context(), path)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if g.PID() != cmd.Process.Pid {
			t.Errorf("%s: process %d, want %d", name, g.PID(), cmd.Process.Pid)
		}
		if g != nil {
			g.Close()
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

func TestAttachToDaemon(t *testing.T) {
	t.Parallel()
	needQEMU(t)
	dir := shortDir(t)
	path, pidFile := filepath.Join(dir, "m"), filepath.Join(dir, "pid")
	args := append(plainGuest(t, "pc"), "-accel", "tcg", "-nodefaults", "-display", "none", "-daemonize", "-pidfile", pidFile, "-qmp", "unix:"+path+",server=on,wait=off")
	if out, err := exec.Command("qemu-system-x86_64", args...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	g, err := Attach(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	text, err := os.ReadFile(pidFile)
	if err != nil || strings.TrimSpace(string(text)) != strconv.Itoa(g.PID()) {
		t.Errorf("process %d, want %s, %v", g.PID(), text, err)
	}
	if err := g.Kill(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestMemoryAfterRename: what was opened does not depend on names.
func TestMemoryAfterRename(t *testing.T) {
	t.Parallel()
	args := plainGuest(t, "pc")
	v := startVMM(t, args...)
	g := v.attach()
	m, err := g.Memory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	path := pathIn(args)
	if err := os.Rename(path, path+"-moved"); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(path + "-moved")
	if _, _, ok := firstData(m); !ok {
		t.Error("no data")
	}
	if _, err := g.Memory(t.Context()); !errors.Is(err, ErrNoRAMFile) {
		t.Errorf("memory of a renamed file: %v", err)
	}
	if err := errors.Join(g.Kill(t.Context()), m.Unlink()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path + "-moved"); err != nil {
		t.Errorf("the renamed file: %v", err)
	}
}

func TestMemoryOfPrivateRAM(t *testing.T) {
	t.Parallel()
	g := startVMM(t, "-m", "32M").attach()
	if _, err := g.Memory(t.Context()); !errors.Is(err, ErrNoRAMFile) {
		t.Errorf("error %v, want ErrNoRAMFile", err)
	}
}
