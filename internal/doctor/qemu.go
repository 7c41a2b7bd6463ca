package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lazymig/lazymig/internal/vmm"
)

const (
	kvmDevice = "/dev/kvm"
	// kvmGetVersion is KVM_GET_API_VERSION, and kvmVersionNow what every
	// kernel answers since 2007.
	kvmGetVersion = 0xae00
	kvmVersionNow = 12

	installFix = "apt-get install qemu-system-x86, or --qemu PROGRAM"
)

func kvmVersion(path string) (int, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return unix.IoctlRetInt(int(f.Fd()), kvmGetVersion)
}

func lookPath(program string) error {
	_, err := exec.LookPath(program)
	return err
}

// checkKVM: without KVM QEMU emulates the processor. Whether KVM is nested, or
// emulated itself, is not judged.
func checkKVM(_ context.Context, h *host) finding {
	version, err := h.kvmVersion(h.path(kvmDevice))
	switch {
	case errors.Is(err, fs.ErrNotExist) && h.containerMark() != "":
		return limited("docker run --device "+kvmDevice, "there is no %s in this container: only emulated guests can come", kvmDevice)
	case errors.Is(err, fs.ErrNotExist):
		return limited("modprobe kvm_intel || modprobe kvm_amd (and switch virtualization on in the firmware)", "there is no %s: only emulated guests (TCG) can come", kvmDevice)
	case errors.Is(err, fs.ErrPermission):
		return limited("adduser $USER kvm, or run as root", "%s cannot be opened: only emulated guests (TCG) can come", kvmDevice)
	case err != nil:
		return limited("modprobe -r kvm_intel kvm_amd kvm; modprobe kvm_intel || modprobe kvm_amd", "%s does not answer: %v", kvmDevice, err)
	case version != kvmVersionNow:
		return limited("use a current kernel", "%s has version %d, not %d", kvmDevice, version, kvmVersionNow)
	}
	return ok("%s answers", kvmDevice)
}

func checkQEMU(ctx context.Context, h *host) finding {
	found, err := h.qemu(ctx)
	switch {
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		return notAble(installFix, "there is no %s in PATH", h.QEMU)
	case errors.Is(err, fs.ErrPermission):
		return notAble("chmod +x "+h.QEMU, "%s: %s", h.QEMU, firstLine(err))
	case err != nil:
		return notAble("run `"+h.QEMU+" -machine none -S` and see what it says", "%s", strings.Join(strings.Fields(err.Error()), " "))
	case !found.Version.AtLeast(4, 0):
		return notAble("install QEMU 4.0 or newer", "%s is QEMU %v, which is too old", found.Path, found.Version)
	}
	note := ""
	if v := found.Version; v.Major != 7 || v.Minor != 2 {
		note = " (lazymig was tested with 7.2)"
	}
	return ok("%s: QEMU %v%s", found.Path, found.Version, note)
}

func checkQEMUMigration(ctx context.Context, h *host) finding {
	found, err := h.qemu(ctx)
	switch {
	case err != nil:
		return unknown("see qemu above", "not asked: QEMU does not start")
	case len(found.Missing) > 0:
		return notAble("install QEMU 4.0 or newer (x-ignore-shared is unstable: a later one may have dropped it)", "QEMU %v has no %s", found.Version, strings.Join(found.Missing, ", "))
	}
	return ok("x-ignore-shared, late-block-activate, …")
}

func checkAccelerators(ctx context.Context, h *host) finding {
	found, err := h.qemu(ctx)
	switch {
	case err != nil:
		return unknown("see qemu above", "not asked: QEMU does not start")
	case len(found.Accelerators) == 0:
		return unknown("install QEMU 5.0 or newer", "QEMU %v does not list its accelerators", found.Version)
	case !slices.Contains(found.Accelerators, "kvm"):
		return limited("install a QEMU with KVM", "this QEMU has only %s", strings.Join(found.Accelerators, ", "))
	}
	return ok("%s", strings.Join(found.Accelerators, ", "))
}

// results translates checks of the preflight.
func results(group string, role Role, list []vmm.Check) []Result {
	var all []Result
	for _, c := range list {
		f := fromCheck(c)
		all = append(all, Result{c.Name, group, role, f.status, f.detail, f.fix})
	}
	return all
}

// bytesText returns a number of bytes for people.
func bytesText(n uint64) string {
	switch {
	case n == ^uint64(0):
		return "no limit"
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n < 1<<20:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d MiB", n>>20)
}
