package demo

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lazymig/lazymig/uffd"
)

// checkMachine fails early for what this machine cannot do.
func checkMachine(cfg Config) error {
	for _, check := range []func(Config) error{checkShm, checkSpace, checkMemory, checkUserfaultfd} {
		if err := check(cfg); err != nil {
			return err
		}
	}
	return nil
}

// checkShm fails if there is no tmpfs for the guest's memory.
func checkShm(cfg Config) error {
	const hint = "as root: mkdir -p /dev/shm && mount -t tmpfs tmpfs /dev/shm; in a container, give it one (docker: --shm-size)"
	var about unix.Statfs_t
	err := unix.Statfs(cfg.shm, &about)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &Error{text: cfg.shm + " is missing, where the guest's memory would be", hint: hint}
	case err != nil:
		return fmt.Errorf("look at %s: %w", cfg.shm, err)
	case about.Type != unix.TMPFS_MAGIC:
		return &Error{text: cfg.shm + " is no tmpfs, so it cannot hold the guest's memory", hint: hint}
	}
	if unix.Access(cfg.shm, unix.W_OK|unix.X_OK) != nil {
		return &Error{text: "nothing can be created in " + cfg.shm, hint: "as root: chmod 1777 " + cfg.shm}
	}
	return nil
}

// checkSpace fails if tmpfs cannot hold the guest at both hosts.
func checkSpace(cfg Config) error {
	var about unix.Statfs_t
	if err := unix.Statfs(cfg.shm, &about); err != nil {
		return fmt.Errorf("look at %s: %w", cfg.shm, err)
	}
	free := about.Bavail * uint64(about.Bsize)
	if need := cfg.tmpfs(); free < need {
		return &Error{
			text: fmt.Sprintf("%s has %s free, a guest of %s needs %s while it moves", cfg.shm, mib(free), mib(cfg.Memory), mib(need)),
			hint: "use less --memory, or as root: mount -o remount,size=" + strconv.FormatUint(need*2>>20, 10) + "M " + cfg.shm,
		}
	}
	return nil
}

// tmpfs is what the run takes at most: the guest is on both hosts until all of
// it has moved.
func (c Config) tmpfs() uint64 { return 2*c.Memory + spaceSlack }

// checkMemory fails if the machine itself has not so much memory.
func checkMemory(cfg Config) error {
	free, err := availableMemory()
	if err != nil {
		return err
	}
	if need := cfg.tmpfs(); free < need {
		return &Error{
			text: fmt.Sprintf("this machine has %s of memory to spare, a guest of %s needs %s while it moves", mib(free), mib(cfg.Memory), mib(need)),
			hint: "use less --memory",
		}
	}
	return nil
}

// availableMemory returns the kernel's estimate.
func availableMemory() (uint64, error) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, fmt.Errorf("find how much memory is free: %w", err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || fields[0] != "MemAvailable:" {
			continue
		}
		n, err := strconv.ParseUint(fields[1], 10, 50)
		return n << 10, err
	}
	return 0, errors.New("find how much memory is free: /proc/meminfo does not say it")
}

// checkUserfaultfd fails if this user may not trap the guest's faults. For the
// microvm those of user mode are enough, which every user may have.
func checkUserfaultfd(cfg Config) error {
	handle, err := uffd.Open()
	hint := "run it as root, or as root: setfacl -m u:$USER:rw /dev/userfaultfd; or use --vmm microvm, which needs no more than an ordinary user has"
	if err != nil && cfg.VMM != QEMU {
		handle, err = uffd.OpenUserMode()
		hint = "in a container: allow the system call userfaultfd (docker: --security-opt seccomp=unconfined); else run it as root"
	}
	switch {
	case err == nil:
		return handle.Close()
	case errors.Is(err, unix.ENOSYS):
		return &Error{
			text: "this kernel has no userfaultfd, by which pages that are missing are found",
			hint: "use a kernel with CONFIG_USERFAULTFD, such as Debian's",
		}
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return &Error{
			text: "this user may not use userfaultfd, by which pages that are missing are found",
			hint: hint,
		}
	}
	return err
}
