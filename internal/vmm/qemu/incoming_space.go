package qemu

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/lazymig/lazymig/internal/vmm"

	"golang.org/x/sys/unix"
)

// place is one tmpfs that holds RAM files.
type place struct {
	directory string
	device    uint64
	size      uint64 // of the RAM files there, bytes
	free      uint64 // bytes; of a tmpfs without a limit, all of the RAM files
}

// places returns the tmpfs file systems of the RAM files.
func (i *Incoming) places() ([]place, error) {
	var list []place
	index := make(map[uint64]int)
	for _, f := range i.files {
		if f.huge {
			continue
		}
		at, ok := index[f.device]
		if !ok {
			free, err := freeSpace(filepath.Dir(f.path))
			if err != nil {
				return nil, err
			}
			at = len(list)
			index[f.device] = at
			list = append(list, place{filepath.Dir(f.path), f.device, 0, free})
		}
		list[at].size += f.size
	}
	return list, nil
}

func freeSpace(directory string) (uint64, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(directory, &fs); err != nil {
		return 0, fmt.Errorf("look at the file system of %s: %w", directory, err)
	}
	if fs.Blocks == 0 { // a tmpfs with size=0 has no limit
		return ^uint64(0), nil
	}
	return fs.Bavail * uint64(fs.Bsize), nil
}

// checkSpace refuses a guest whose memory does not fit, and warns of one that
// would not if it used all of its memory.
func checkSpace(places []place, need uint64) []vmm.Check {
	const name, fix = "tmpfs-space", "enlarge it (mount -o remount,size=SIZE DIRECTORY) or remove files from it"
	var room, size uint64
	var checks []vmm.Check
	for _, p := range places {
		room += min(p.free, p.size)
		size += p.size
		if p.size > p.free {
			checks = append(checks, warned(name, fix, "the guest's memory of %s is more than the %s that are free in %s: a guest that uses it all would be lost", mebibytes(p.size), mebibytes(p.free), p.directory))
		}
	}
	if need = min(need, size); room < need {
		return []vmm.Check{refused(name, fix, "the guest needs %s and %s are free in %s", mebibytes(need), mebibytes(room), directories(places))}
	}
	if len(checks) > 0 {
		return checks
	}
	return []vmm.Check{passed(name, "the guest's %s fit into %s", mebibytes(size), directories(places))}
}

func directories(places []place) string {
	var list []string
	for _, p := range places {
		list = append(list, p.directory)
	}
	return strings.Join(list, ", ")
}

// readMachineMemory returns how much this machine has for new pages of a
// tmpfs, in bytes.
func (h Host) readMachineMemory() (uint64, error) {
	text, err := os.ReadFile(h.path("/proc/meminfo"))
	if err != nil {
		return 0, fmt.Errorf("read the machine's memory: %w", err)
	}
	var sum uint64
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "MemAvailable:" && fields[0] != "SwapFree:" {
			continue
		}
		kibibytes, err := strconv.ParseUint(fields[1], 10, 54)
		if err != nil {
			return 0, fmt.Errorf("read the machine's memory: %w", err)
		}
		sum += kibibytes << 10
	}
	return sum, nil
}

func checkMachineMemory(available, need uint64) vmm.Check {
	if available < need {
		return refused("host-memory", "free memory on this host", "the guest needs %s and this host has %s", mebibytes(need), mebibytes(available))
	}
	return passed("host-memory", "this host has %s", mebibytes(available))
}
