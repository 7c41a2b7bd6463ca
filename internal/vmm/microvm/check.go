package microvm

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/lazymig/lazymig/internal/vmm"
)

func passed(name, format string, args ...any) vmm.Check {
	return vmm.Check{Name: name, Status: vmm.StatusOK, Detail: fmt.Sprintf(format, args...)}
}

func refused(name, fix, format string, args ...any) vmm.Check {
	return vmm.Check{Name: name, Status: vmm.StatusRefused, Detail: fmt.Sprintf(format, args...), Fix: fix}
}

// errDetails is returned for a description that no microvm gave.
var errDetails = errors.New("invalid description of a microvm")

// compare checks that the guest of source can run as here.
func compare(source vmm.Description, here Config) ([]vmm.Check, error) {
	var d details
	if err := json.Unmarshal(source.Details, &d); err != nil {
		return nil, fmt.Errorf("%w: %w", errDetails, err)
	}
	if !layoutOf(d.Size).Equal(source.Layout) {
		return nil, fmt.Errorf("%w: the layout is not that of %d bytes", errDetails, d.Size)
	}
	checks := []vmm.Check{passed("program", "both sides run version %d", d.Version)}
	if d.Version != stateVersion {
		checks[0] = refused("program", "use the same version of lazymig on both hosts", "the source runs version %d, the destination %d", d.Version, stateVersion)
	}
	size := passed("ram-size", "both sides have %d bytes", here.Size)
	if d.Size != here.Size {
		size = refused("ram-size", fmt.Sprintf("give the destination --size %d", d.Size), "the source has %d bytes, the destination %d", d.Size, here.Size)
	}
	space, err := checkSpace(here.RAM, d.Allocated)
	return append(checks, size, space), err
}

// checkSpace checks that what the source has allocated fits beside the RAM
// file at path.
func checkSpace(path string, allocated uint64) (vmm.Check, error) {
	var fs unix.Statfs_t
	directory := filepath.Dir(path)
	if err := unix.Statfs(directory, &fs); err != nil {
		return vmm.Check{}, fmt.Errorf("look at the space of %s: %w", directory, err)
	}
	need, free := allocated+allocated*sizeSlack/100, fs.Bavail*uint64(fs.Bsize)
	switch {
	case fs.Type != unix.TMPFS_MAGIC:
		return refused("tmpfs-space", "use a path in /dev/shm", "%s is not on a tmpfs", directory), nil
	case free < need:
		return refused("tmpfs-space", "make room in "+directory+", or make it larger by mount -o remount,size=…",
			"%s has %d MiB left, the guest needs %d MiB", directory, free>>20, need>>20), nil
	}
	return passed("tmpfs-space", "the guest's %d MiB fit into %s", allocated>>20, directory), nil
}
