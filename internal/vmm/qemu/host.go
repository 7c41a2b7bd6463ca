package qemu

import (
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/lazymig/lazymig/internal/vmm"
)

// Host is the machine that a guest is to arrive at. The zero value is this
// one. What it judges without a guest is judged as Incoming.Preflight does.
type Host struct {
	// Root is the directory whose /proc, /sys and mounts are looked at; empty
	// for this machine's own.
	Root string
}

func (h Host) path(name string) string { return filepath.Join(h.Root, name) }

// Room is what a host has for the RAM files of guests in one directory.
type Room struct {
	// Directory holds the RAM files.
	Directory string
	// IsTmpfs says that they are in memory, as they have to be.
	IsTmpfs bool
	// Size and Free are the bytes of the file system; the largest number if
	// it has no limit.
	Size, Free uint64
	// Memory is what the machine has for new pages, in bytes.
	Memory uint64
	// Group is what the control groups of this process leave, in bytes; the
	// largest number if they have no limit.
	Group uint64

	limits []memoryLimit
}

// Room looks at the directory that RAM files would be made in.
func (h Host) Room(directory string) (Room, error) {
	full := h.path(directory)
	r := Room{Directory: directory, Group: ^uint64(0)}
	var fs unix.Statfs_t
	if err := unix.Statfs(full, &fs); err != nil {
		return r, fmt.Errorf("look at the file system of %s: %w", directory, err)
	}
	r.IsTmpfs = fs.Type == unix.TMPFS_MAGIC
	r.Size, r.Free = ^uint64(0), ^uint64(0)
	if fs.Blocks > 0 {
		r.Size, r.Free = fs.Blocks*uint64(fs.Bsize), fs.Bavail*uint64(fs.Bsize)
	}
	var err error
	if r.Memory, err = h.readMachineMemory(); err != nil {
		return r, err
	}
	if r.limits, err = h.readMemoryLimits("self"); err != nil {
		return r, err
	}
	for _, l := range r.limits {
		r.Group = min(r.Group, l.free)
	}
	return r, nil
}

// Least returns the bytes of guest RAM that fit, whatever bounds them.
func (r Room) Least() uint64 { return min(r.Free, r.Memory, r.Group) }

// Check judges the room for a guest of that many bytes that uses all of them.
func (r Room) Check(size uint64) []vmm.Check {
	need := withSpare(size)
	checks := checkSpace([]place{{directory: r.Directory, size: size, free: r.Free}}, need)
	return append(checks, checkMachineMemory(r.Memory, need), checkMemoryLimits(r.limits, need))
}

// CheckHugePages judges the use of huge pages in the tmpfs at directory.
func (h Host) CheckHugePages(directory string) (vmm.Check, error) {
	var status unix.Stat_t
	if err := unix.Stat(h.path(directory), &status); err != nil {
		return vmm.Check{}, fmt.Errorf("look at %s: %w", directory, err)
	}
	return h.checkHugePages([]place{{directory: directory, device: status.Dev}})
}

// CheckUserfaultfd judges what userfaultfd of this machine's kernel can do.
func CheckUserfaultfd() vmm.Check { return checkUserfaultfd() }
