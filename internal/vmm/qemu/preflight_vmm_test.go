package qemu

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lazymig/lazymig/internal/vmm"
)

func join(lists ...[]string) []string {
	var all []string
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

func preflight(t *testing.T, v *testVMM) []vmm.Check {
	t.Helper()
	checks, err := v.attach().Preflight(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return checks
}

func TestPreflightRefusesMemory(t *testing.T) {
	t.Parallel()
	directory, disk := ramPath(t), shortDir(t)
	if err := os.Mkdir(directory, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		args  []string
		check string
		text  string
	}{
		"private":          {[]string{"-m", "32M"}, "ram pc.ram", "private memory"},
		"memfd":            {[]string{"-object", "memory-backend-memfd,id=r,size=32M,share=on", "-m", "32M", "-machine", "q35,memory-backend=r"}, "ram r", "memfd"},
		"anonymous":        {[]string{"-object", "memory-backend-ram,id=r,size=32M,share=on", "-m", "32M", "-machine", "pc,memory-backend=r"}, "ram r", "without a file"},
		"file, not shared": {[]string{"-object", "memory-backend-file,id=r,size=32M,share=off,mem-path=" + ramPath(t), "-m", "32M", "-machine", "pc,memory-backend=r"}, "ram r", "private memory"},
		"directory":        {[]string{"-object", "memory-backend-file,id=r,size=32M,share=on,mem-path=" + directory, "-m", "32M", "-machine", "pc,memory-backend=r"}, "ram r", "names a directory"},
		"on a disk":        {[]string{"-object", "memory-backend-file,id=r,size=32M,share=on,mem-path=" + filepath.Join(disk, "ram"), "-m", "32M", "-machine", "pc,memory-backend=r"}, "ram r", "on neither a tmpfs"},
		"one of two":       {join(fileRAM(t, "r0", "32M"), []string{"-object", "memory-backend-ram,id=r1,size=32M", "-m", "64M", "-machine", "q35", "-numa", "node,memdev=r0", "-numa", "node,memdev=r1"}), "ram r1", "private memory"},
		"private DIMM":     {join(fileRAM(t, "r0", "32M"), []string{"-object", "memory-backend-ram,id=d0,size=128M", "-m", "32M,slots=2,maxmem=1G", "-machine", "q35,memory-backend=r0", "-device", "pc-dimm,memdev=d0"}), "ram d0", "private memory"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantOnlyRefused(t, preflight(t, startVMM(t, tc.args...)), tc.text, tc.check)
		})
	}
}

func TestPreflightPasses(t *testing.T) {
	t.Parallel()
	numa := join(fileRAM(t, "ram1", "32M"), fileRAM(t, "ram0", "32M"), fileRAM(t, "dimm0", "128M"), fileRAM(t, "unused", "16M"), []string{
		"-m", "64M,slots=2,maxmem=1G", "-machine", "q35", "-numa", "node,memdev=ram0", "-numa", "node,memdev=ram1", "-device", "pc-dimm,id=d,memdev=dimm0",
	})
	for name, args := range map[string][]string{
		"pc":                   plainGuest(t, "pc"),
		"q35":                  plainGuest(t, "q35"),
		"never started":        append(plainGuest(t, "pc"), "-S"),
		"two nodes and a DIMM": numa,
		"old machine":          plainGuest(t, "pc-i440fx-2.12"),
		"devices":              append(plainGuest(t, "q35"), "-vga", "std", "-device", "virtio-balloon-pci", "-netdev", "user,id=n0", "-device", "virtio-net-pci,netdev=n0"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantOnlyRefused(t, preflight(t, startVMM(t, args...)), "")
		})
	}
}

func TestPreflightSeesStates(t *testing.T) {
	t.Parallel()
	v := startVMM(t, plainGuest(t, "pc")...)
	v.do("stop", nil)
	g := v.attach()
	checks, err := g.Preflight(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	wantOnlyRefused(t, checks, "")
	v.do("migrate", map[string]string{"uri": "exec:cat > /dev/null"})
	eventually(t, "the other migration", func() bool { return v.status() == "postmigrate" })
	if checks, err = g.Preflight(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantOnlyRefused(t, checks, "postmigrate", "guest-state")
}

func TestPreflightSeesAnotherMigration(t *testing.T) {
	t.Parallel()
	v := startVMM(t, plainGuest(t, "pc")...)
	v.do("migrate", map[string]string{"uri": "exec:sleep 30"})
	defer v.do("migrate_cancel", nil)
	wantOnlyRefused(t, preflight(t, v), "another migration", "other-migration")
}

func TestPreflightSeesArrivingGuest(t *testing.T) {
	t.Parallel()
	v := startVMM(t, append(plainGuest(t, "pc"), "-incoming", "defer")...)
	wantOnlyRefused(t, preflight(t, v), "arriving", "guest-state")
}

func TestPreflightSeesMissingName(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(path string) error{
		"names a directory|has no name": os.Remove,
		"renamed or replaced": func(path string) error {
			if err := os.Rename(path, path+"-2"); err != nil {
				return err
			}
			return os.WriteFile(path, nil, 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := plainGuest(t, "pc")
			v := startVMM(t, args...)
			path := pathIn(args)
			t.Cleanup(func() { os.Remove(path + "-2") })
			if err := change(path); err != nil {
				t.Fatal(err)
			}
			text := name[strings.LastIndex(name, "|")+1:]
			wantOnlyRefused(t, preflight(t, v), text, "ram ram0")
		})
	}
}

// pathIn returns the mem-path of a plain guest.
func pathIn(args []string) string {
	_, path, _ := strings.Cut(args[1], "mem-path=")
	path, _, _ = strings.Cut(path, ",")
	return path
}

func TestPreflightSeesLockedMemory(t *testing.T) {
	t.Parallel()
	needRoot(t)
	v := startVMM(t, append(plainGuest(t, "pc"), "-overcommit", "mem-lock=on")...)
	wantOnlyRefused(t, preflight(t, v), "locked", "mem-lock")
}

func TestPreflightSeesOtherUsersOfTheRAM(t *testing.T) {
	t.Parallel()
	t.Run("mapped", func(t *testing.T) {
		t.Parallel()
		args := plainGuest(t, "pc")
		v := startVMM(t, args...)
		second := startVMM(t, append(args, "-S")...)
		checks := preflight(t, v)
		wantOnlyRefused(t, checks, "maps", "ram-users")
		if c := find(t, checks, "ram-users"); !strings.Contains(c.Detail, "qemu-system") || !strings.Contains(c.Detail, pathIn(args)) {
			t.Errorf("check %+v names neither the process nor the file", c)
		}
		if g := second.attach(); g.PID() != second.cmd.Process.Pid {
			t.Errorf("attached to process %d, want %d", g.PID(), second.cmd.Process.Pid)
		}
	})
	t.Run("held open", func(t *testing.T) {
		t.Parallel()
		args := plainGuest(t, "pc")
		v := startVMM(t, args...)
		f, err := os.Open(pathIn(args))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		holder := exec.Command("sleep", "600")
		holder.ExtraFiles = []*os.File{f}
		if err := holder.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = holder.Process.Kill(); _ = holder.Wait() }()
		wantOnlyRefused(t, preflight(t, v), "holds open", "ram-users")
	})
}

func TestPreflightSeesDevices(t *testing.T) {
	t.Parallel()
	v := startVMM(t, append(plainGuest(t, "pc"), "-object", "memory-backend-file,id=shm,size=1M,share=on,mem-path="+ramPath(t), "-device", "ivshmem-plain,memdev=shm,master=on")...)
	wantOnlyRefused(t, preflight(t, v), "ivshmem", "ivshmem")
}

func TestPreflightWarnsOfDisks(t *testing.T) {
	t.Parallel()
	image := filepath.Join(shortDir(t), "disk")
	if err := os.WriteFile(image, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	v := startVMM(t, append(plainGuest(t, "pc"), "-drive", "file="+image+",if=none,id=d0,format=raw,cache=writeback", "-device", "virtio-blk-pci,drive=d0")...)
	checks := preflight(t, v)
	wantOnlyRefused(t, checks, "")
	if c := find(t, checks, "disk-cache d0"); c.Status != vmm.StatusWarning {
		t.Errorf("check %+v, want a warning", c)
	}
	if c := find(t, checks, "disk-storage d0"); c.Status != vmm.StatusWarning && localFileSystem(os.Getpid(), image) != "" {
		t.Errorf("check %+v, want a warning", c)
	}
	if _, err := json.Marshal(checks); err != nil {
		t.Error(err)
	}
}
