package metal

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lazymig/lazymig/bench/machine"
	"github.com/lazymig/lazymig/uffd"
)

// Facts is what a helper knows of its machine. What does not work has the
// reason, what works has "".
type Facts struct {
	Machine machine.Info `json:"machine"`
	User    int          `json:"user"`
	// Dir and RAMDir are the helper's folders, on disk or tmpfs and on tmpfs.
	Dir       string `json:"dir"`
	RAMDir    string `json:"ram_dir"`
	FreeRAM   uint64 `json:"free_ram"` // of tmpfs and of memory, in bytes
	QEMU      string `json:"qemu"`     // the version
	NoQEMU    string `json:"no_qemu,omitempty"`
	NoKVM     string `json:"no_kvm,omitempty"`
	NoFaultFD string `json:"no_userfaultfd,omitempty"`
}

// look returns the facts.
func look(ctx context.Context, qemu, dir, ramDir string) Facts {
	f := Facts{Machine: machine.Describe(""), User: os.Geteuid(), Dir: dir, RAMDir: ramDir, FreeRAM: free(ramDir)}
	out, err := exec.CommandContext(ctx, qemu, "--version").Output()
	if err != nil {
		f.NoQEMU = err.Error()
	}
	first, _, _ := strings.Cut(string(out), "\n")
	f.QEMU = strings.TrimPrefix(first, "QEMU emulator version ")
	f.NoKVM, f.NoFaultFD = tryKVM(), tryFaultFD()
	return f
}

// free returns how much memory a folder of tmpfs can still take.
func free(dir string) uint64 {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0
	}
	bytes := s.Bavail * uint64(s.Bsize)
	text, _ := os.ReadFile("/proc/meminfo")
	for line := range strings.Lines(string(text)) {
		var kib uint64
		if n, _ := fmt.Sscanf(line, "MemAvailable: %d kB", &kib); n == 1 {
			bytes = min(bytes, kib<<10)
		}
	}
	return bytes
}

// createVM is KVM_CREATE_VM of linux/kvm.h.
const createVM = 0xae01

// tryKVM makes an empty virtual machine: the device alone says little.
func tryKVM() string {
	fd, err := unix.Open("/dev/kvm", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Sprintf("open /dev/kvm: %v", err)
	}
	defer unix.Close(fd)
	vm, err := unix.IoctlRetInt(fd, createVM)
	if err != nil {
		return fmt.Sprintf("create a virtual machine by /dev/kvm: %v", err)
	}
	_ = unix.Close(vm) // a descriptor of ours
	return ""
}

func tryFaultFD() string {
	h, err := uffd.Open()
	if err != nil {
		return err.Error()
	}
	_ = h.Close() // it was never used
	return ""
}
