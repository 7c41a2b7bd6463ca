package qemu

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/internal/vmm"
)

// memoryLimit is the limit of one control group, in bytes. The pages of guest
// RAM are charged to the group of QEMU, whoever installs them.
type memoryLimit struct {
	group string // directory
	free  uint64
}

// cgroupFiles are the names under which a version of control groups keeps
// limit, usage and the page cache, which gives way to guest RAM.
type cgroupFiles struct {
	limit, usage string
	cache        []string // keys of memory.stat
}

var (
	cgroupV1 = cgroupFiles{"memory.limit_in_bytes", "memory.usage_in_bytes", []string{"total_inactive_file", "total_active_file"}}
	cgroupV2 = cgroupFiles{"memory.max", "memory.current", []string{"inactive_file", "active_file"}}
)

// readMemoryLimits returns the limits that apply to a process, a number or
// "self": of its own group and of those above it, in both versions of control
// groups.
func (h Host) readMemoryLimits(process string) ([]memoryLimit, error) {
	groups, err := os.ReadFile(h.path(filepath.Join("/proc", process, "cgroup")))
	if err != nil {
		return nil, fmt.Errorf("read the control groups of process %s: %w", process, err)
	}
	mounts, err := h.readMounts()
	if err != nil {
		return nil, err
	}
	var list []memoryLimit
	for line := range strings.Lines(string(groups)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		for _, m := range mounts {
			files, ok := m.memoryController(fields[1])
			if !ok {
				continue
			}
			found, err := limitsAbove(h.path(m.point), strings.TrimPrefix(fields[2], strings.TrimSuffix(m.root, "/")), files)
			if err != nil {
				return nil, err
			}
			list = append(list, found...)
		}
	}
	return list, nil
}

// memoryController tells whether the mount shows the groups of a line of
// /proc/PID/cgroup with those controllers, and they limit memory.
func (m mount) memoryController(controllers string) (cgroupFiles, bool) {
	switch {
	case m.kind == "cgroup2" && controllers == "":
		return cgroupV2, true
	case m.kind == "cgroup" && hasWord(controllers, "memory") && hasWord(m.options, "memory"):
		return cgroupV1, true
	}
	return cgroupFiles{}, false
}

func hasWord(list, word string) bool { return strings.Contains(","+list+",", ","+word+",") }

// limitsAbove reads the limits of the group at path below the mount point top
// and of all groups above it. A level that this process cannot see or that has
// no limit is left out.
func limitsAbove(top, path string, files cgroupFiles) ([]memoryLimit, error) {
	var list []memoryLimit
	for group := filepath.Join(top, path); strings.HasPrefix(group, top); group = filepath.Dir(group) {
		limit, err := readCounter(filepath.Join(group, files.limit))
		if err != nil {
			return nil, err
		}
		if limit <= lazymig.MaxBytes {
			usage, err := readCounter(filepath.Join(group, files.usage))
			if err != nil {
				return nil, err
			}
			usage -= min(usage, readCache(group, files))
			list = append(list, memoryLimit{group, limit - min(limit, usage)})
		}
		if group == top {
			break
		}
	}
	return list, nil
}

// readCounter reads a number of bytes. "max" and a missing file mean no limit.
func readCounter(path string) (uint64, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) || err == nil && strings.TrimSpace(string(text)) == "max" {
		return ^uint64(0), nil
	}
	if err != nil {
		return 0, fmt.Errorf("read a memory limit: %w", err)
	}
	value, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read the memory limit %s: %w", path, err)
	}
	return value, nil
}

// readCache returns the size of a group's page cache, 0 if it is not known.
func readCache(group string, files cgroupFiles) uint64 {
	text, err := os.ReadFile(filepath.Join(group, "memory.stat"))
	if err != nil {
		return 0
	}
	var sum uint64
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		for _, wanted := range files.cache {
			if n, err := strconv.ParseUint(value, 10, 63); key == wanted && err == nil {
				sum += n
			}
		}
	}
	return sum
}

func checkMemoryLimits(limits []memoryLimit, need uint64) vmm.Check {
	for _, l := range limits {
		if l.free < need {
			return refused("memory-cgroup", "raise the limit of the control group, or start lazymig in another one",
				"the guest needs %s and the limit of %s leaves %s", mebibytes(need), l.group, mebibytes(l.free))
		}
	}
	return passed("memory-cgroup", "no control group's limit is in the way")
}
