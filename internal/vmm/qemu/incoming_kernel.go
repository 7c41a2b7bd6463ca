package qemu

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/lazymig/lazymig/internal/vmm"
	"github.com/lazymig/lazymig/uffd"
)

// checkHugePages refuses huge pages in the tmpfs of the RAM files on kernels
// whose khugepaged collapses ranges that a userfaultfd has registered: it
// would fill in missing pages with zeros (fixed in Linux 6.4).
func (h Host) checkHugePages(places []place) (vmm.Check, error) {
	const name = "huge-pages"
	text, err := os.ReadFile(h.path("/proc/sys/kernel/osrelease"))
	if err != nil {
		return vmm.Check{}, fmt.Errorf("ask for the kernel's version: %w", err)
	}
	release := strings.TrimSpace(string(text))
	if isAtLeast(release, 6, 4) {
		return passed(name, "Linux %s keeps huge pages out of registered memory", release), nil
	}
	policy, err := readPolicy(h.path("/sys/kernel/mm/transparent_hugepage/shmem_enabled"))
	if err != nil {
		return vmm.Check{}, err
	}
	mounts, err := h.readMounts()
	if err != nil {
		return vmm.Check{}, err
	}
	for _, p := range places {
		for _, m := range mounts {
			if m.device == p.device && usesHugePages(policy, m.option("huge")) {
				return refused(name, "mount -o remount,huge=never "+m.point+" and echo never > /sys/kernel/mm/transparent_hugepage/shmem_enabled, or use Linux 6.4 or newer",
					"%s may use huge pages, and Linux %s would fill in missing pages with zeros", m.point, release), nil
			}
		}
	}
	return passed(name, "huge pages are off in %s", directories(places)), nil
}

// usesHugePages combines the system's policy for shared memory with the
// mount's option.
func usesHugePages(policy, option string) bool {
	switch policy {
	case "force":
		return true
	case "deny":
		return false
	}
	return option != "" && option != "never"
}

// isAtLeast compares a kernel release such as "6.1.0-13-amd64".
func isAtLeast(release string, major, minor int) bool {
	var a, b int
	if n, err := fmt.Sscanf(release, "%d.%d", &a, &b); n != 2 || err != nil {
		return false
	}
	return a > major || a == major && b >= minor
}

// readPolicy returns the word in brackets. A kernel without the file has no
// huge pages.
func readPolicy(path string) (string, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return "deny", nil
	}
	if err != nil {
		return "", fmt.Errorf("read the policy for huge pages: %w", err)
	}
	_, after, _ := strings.Cut(string(text), "[")
	word, _, _ := strings.Cut(after, "]")
	return word, nil
}

// needed are the features of userfaultfd without which guests are not moved.
const needed = uffd.FeatureEventRemove | uffd.FeatureMissingShmem | uffd.FeatureThreadID

func checkUserfaultfd() vmm.Check {
	const name = "userfaultfd"
	has, err := uffd.Features()
	switch {
	case err != nil:
		return refused(name, "run lazymig as root on a kernel with CONFIG_USERFAULTFD", "%v", err)
	case has&needed != needed:
		return refused(name, "use Linux 4.14 or newer", "this kernel's userfaultfd lacks %v", needed&^has)
	case has&uffd.FeaturePoison == 0:
		return warned(name, "use Linux 6.6 or newer on this host", "this kernel cannot mark pages as lost: a page that the source's hardware has lost would stop the migration")
	}
	return passed(name, "userfaultfd is available")
}
