package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lazymig/lazymig/internal/vmm"
	"github.com/lazymig/lazymig/uffd"
)

const (
	userfaultfdDevice = "/dev/userfaultfd"
	userfaultfdSysctl = "/proc/sys/vm/unprivileged_userfaultfd"
	// userModeOnly is UFFD_USER_MODE_ONLY, which anybody may ask for.
	userModeOnly = 1
	// deviceNew is USERFAULTFD_IOC_NEW; its argument has the flags of the
	// system call.
	deviceNew = 0xaa00
)

const (
	rebuildFix = "use a kernel with CONFIG_USERFAULTFD=y (all distributions' kernels have it)"
	filterFix  = "allow userfaultfd to the container (docker run --security-opt seccomp=unconfined), or run it on the host itself"
	makeDevice = "mknod " + userfaultfdDevice + " c 10 $(awk '/userfaultfd/{print $1}' /proc/misc)"
	deviceFix  = "run as root, or: setfacl -m u:$USER:rw /dev/userfaultfd"
)

func tryUserfaultfd(userOnly bool) error {
	flags := uintptr(unix.O_CLOEXEC)
	if userOnly {
		flags |= userModeOnly
	}
	fd, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, flags, 0, 0)
	if errno != 0 {
		return errno
	}
	return unix.Close(int(fd))
}

// hasUserfaultfd tells from files, whatever a filter says of the system call,
// whether the kernel has userfaultfd. The device came with Linux 6.1, the
// sysctl with 5.2.
func (h *host) hasUserfaultfd() bool {
	return h.exists(userfaultfdDevice) || h.exists("/sys/class/misc/userfaultfd") || h.exists(userfaultfdSysctl)
}

func tryDevice(path string) error {
	device, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer device.Close()
	fd, err := unix.IoctlRetInt(int(device.Fd()), deviceNew)
	if err != nil {
		return &os.PathError{Op: "ioctl", Path: path, Err: err}
	}
	return unix.Close(fd)
}

// openDevice tries what gives a userfaultfd to QEMU.
func (h *host) openDevice() error { return h.device(h.path(userfaultfdDevice)) }

// checkUserfaultfdCall tells a kernel without userfaultfd from a filter that
// denies it and from a missing privilege. The call is needed only where there
// is no device.
func checkUserfaultfdCall(_ context.Context, h *host) finding {
	full := h.userfaultfd(false)
	if full == nil {
		return ok("the system call works")
	}
	if h.openDevice() == nil {
		return ok("%v; %s is used instead", full, userfaultfdDevice)
	}
	switch {
	case errors.Is(full, unix.ENOSYS) && h.hasUserfaultfd():
		return notAble(filterFix, "the kernel has userfaultfd and a filter (seccomp) hides the system call: ENOSYS")
	case errors.Is(full, unix.ENOSYS):
		return notAble(rebuildFix, "the kernel was built without userfaultfd: ENOSYS")
	case errors.Is(full, unix.EMFILE), errors.Is(full, unix.ENFILE):
		return unknown("ulimit -n 4096", "no descriptor is left to try it: %v", full)
	case !errors.Is(full, unix.EPERM):
		return unknown("run as root on the host itself", "the system call fails: %v", full)
	}
	switch only := h.userfaultfd(true); {
	case only == nil:
		return notAble(deviceFix, "only for faults of user mode here, which is not enough: KVM and system calls touch guest RAM too")
	case errors.Is(only, unix.EINVAL): // before Linux 5.11 there is no such mode
		return notAble("run as root, or: sysctl -w vm.unprivileged_userfaultfd=1", "the system call needs a privilege here: EPERM")
	}
	return notAble(filterFix, "a filter (seccomp) or security module denies it: EPERM even for user mode only")
}

// checkUserfaultfdDevice follows what arming a QEMU does: a device that is
// there has to open; one that is not there leaves QEMU its own privileges.
func checkUserfaultfdDevice(_ context.Context, h *host) finding {
	err := h.openDevice()
	if err == nil {
		return ok("%s works", userfaultfdDevice)
	}
	if errors.Is(err, unix.ENOTTY) {
		return notAble("rm "+userfaultfdDevice+" && "+makeDevice, "%s is another device or file", userfaultfdDevice)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		detail := "it is there and cannot be opened"
		if info, statErr := os.Stat(h.path(userfaultfdDevice)); statErr == nil {
			detail = fmt.Sprintf("it has mode %04o and cannot be opened", info.Mode().Perm())
		}
		fix := deviceFix
		if h.euid() == 0 {
			fix = "allow the device (docker run --device " + userfaultfdDevice + "; systemd: DeviceAllow=" + userfaultfdDevice + " rw)"
		}
		return notAble(fix, "%s: %v", detail, errors.Unwrap(err))
	}
	fix := "use Linux 6.1 or newer, or: sysctl -w vm.unprivileged_userfaultfd=1"
	if h.exists("/sys/class/misc/userfaultfd") {
		fix = makeDevice + " (docker run --device " + userfaultfdDevice + ")"
	}
	switch {
	case h.userfaultfd(false) != nil:
		return notAble(fix, "there is no %s, and the system call is not allowed", userfaultfdDevice)
	case h.sysctl() == "1":
		return ok("there is none; the system call is for everybody")
	}
	return limited(fix, "there is no %s: a QEMU that gives up root (-runas) cannot be a destination", userfaultfdDevice)
}

// sysctl returns vm.unprivileged_userfaultfd, empty if the kernel has none.
func (h *host) sysctl() string {
	text, err := h.read(userfaultfdSysctl)
	if err != nil {
		return ""
	}
	return text
}

func checkUserfaultfdSysctl(_ context.Context, h *host) finding {
	value, err := h.read(userfaultfdSysctl)
	switch {
	case errors.Is(err, fs.ErrNotExist) && h.userfaultfd(false) == nil:
		return ok("there is no sysctl for it, and none is needed")
	case err != nil:
		return unknown("mount -t proc proc /proc", "%v", err)
	case value == "1":
		return ok("unprivileged_userfaultfd is 1: any user may")
	case h.openDevice() == nil, h.userfaultfd(false) == nil:
		return ok("unprivileged_userfaultfd is %s and need not be 1", value)
	case h.exists(userfaultfdDevice):
		return limited(deviceFix, "vm.unprivileged_userfaultfd is %s, and %s does not open", value, userfaultfdDevice)
	}
	return notAble("sysctl -w vm.unprivileged_userfaultfd=1", "vm.unprivileged_userfaultfd is %s and this user has no privilege", value)
}

// checkUserfaultfdFeatures gives the verdict of the preflight; details and
// what could not be found out are added.
func checkUserfaultfdFeatures(_ context.Context, h *host) finding {
	has, err := h.features()
	verdict := h.preflight()
	switch {
	case errors.Is(err, unix.ENOSYS) && !h.hasUserfaultfd():
		return notAble(rebuildFix, "the kernel was built without userfaultfd")
	case err != nil:
		return finding{NotAble, "the kernel could not be asked: " + errnoText(err), verdict.Fix}
	case verdict.Status != vmm.StatusOK:
		return fromCheck(verdict)
	}
	return ok("%v", has&(uffd.FeatureMissingShmem|uffd.FeatureEventRemove|uffd.FeaturePoison))
}

// checkUserfaultfdInQEMU is the whole way to a userfaultfd, in a QEMU without
// a guest: ptrace, the device, the system call, a copy of the descriptor.
func checkUserfaultfdInQEMU(ctx context.Context, h *host) finding {
	found, err := h.qemu(ctx)
	switch {
	case err != nil:
		return unknown("see qemu below", "not tried: QEMU does not start")
	case found.Userfaultfd == nil:
		return ok("made one inside a QEMU without a guest")
	}
	fix := "see uffd-device, ptrace-scope and linux-capabilities"
	switch {
	case (errors.Is(found.Userfaultfd, fs.ErrPermission) || errors.Is(found.Userfaultfd, unix.ENOSYS)) && h.isFiltered():
		fix = filterFix
	case h.openDevice() != nil && h.euid() != 0:
		fix = deviceFix
	}
	return notAble(fix, "%s", firstLine(found.Userfaultfd))
}

// fromCheck translates a verdict of the preflight.
func fromCheck(c vmm.Check) finding {
	switch c.Status {
	case vmm.StatusOK:
		return ok("%s", c.Detail)
	case vmm.StatusWarning:
		return limited(c.Fix, "%s", c.Detail)
	case vmm.StatusRefused:
	}
	return notAble(c.Fix, "%s", c.Detail)
}

// errnoText returns the kernel's own word on an error, without the way to it.
func errnoText(err error) string {
	if errno, found := errors.AsType[unix.Errno](err); found {
		return errno.Error()
	}
	return firstLine(err)
}

// firstLine keeps errors of several lines in one.
func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
