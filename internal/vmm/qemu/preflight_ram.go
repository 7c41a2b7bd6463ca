package qemu

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/lazymig/lazymig/internal/vmm"

	"golang.org/x/sys/unix"

	"github.com/lazymig/lazymig"
)

// ramFix says how RAM has to be given to QEMU.
func ramFix(r ram) string {
	return fmt.Sprintf("start QEMU with -object memory-backend-file,id=%s,size=%d,mem-path=/dev/shm/NAME,share=on and use it as the guest's memory (-machine memory-backend=%s, or -numa or -device memdev=)", r.ID, r.Size, r.ID)
}

// checkRAM gives one check for each memory backend. All have to pass: one that
// is not served would travel in the stream, or be left out and read as zeros.
func (f *findings) checkRAM() []vmm.Check {
	if len(f.rams) == 0 {
		return []vmm.Check{refused("ram", "start QEMU with -object memory-backend-file,share=on on /dev/shm", "QEMU names no memory backend")}
	}
	var checks []vmm.Check
	for _, r := range f.rams {
		checks = append(checks, f.checkBackend(r))
	}
	return append(checks, f.checkOverlap(), f.checkLayout())
}

func (f *findings) checkBackend(r ram) vmm.Check {
	name := "ram " + r.ID
	refuse := func(format string, args ...any) vmm.Check {
		return refused(name, ramFix(r), format, args...)
	}
	switch {
	case !r.Share:
		return refuse("backend %s (%s) is private memory of QEMU (share=off)", r.ID, r.kind)
	case r.kind == "memory-backend-memfd":
		return refuse("backend %s is a memfd: QEMU from 8.1 on does not leave it out of the stream, and it cannot be given to the destination", r.ID)
	case r.kind == "memory-backend-ram":
		return refuse("backend %s is shared memory without a file (memory-backend-ram with share=on)", r.ID)
	case !r.isFile():
		return refuse("backend %s is a %s, not a file", r.ID, r.kind)
	case r.err != nil:
		return refuse("backend %s: %v", r.ID, r.err)
	}
	return f.checkFile(name, r, refuse)
}

// checkFile judges a shared file that QEMU maps as it says.
func (f *findings) checkFile(name string, r ram, refuse func(string, ...any) vmm.Check) vmm.Check {
	fs := f.fileSystems[r.ID]
	if fs == unix.HUGETLBFS_MAGIC {
		if reason, fix := checkHugePages(r.pageSize, r.Size); reason != "" {
			return refused(name, fix, "backend %s: %s", r.ID, reason)
		}
	}
	switch {
	case fs != unix.TMPFS_MAGIC && fs != unix.HUGETLBFS_MAGIC:
		return refuse("backend %s: %s is on neither a tmpfs nor a hugetlbfs (file system type %#x)", r.ID, r.path, fs)
	case fs == unix.TMPFS_MAGIC && r.pageSize != lazymig.PageSize:
		return refuse("backend %s has pages of %d bytes, not of %d", r.ID, r.pageSize, lazymig.PageSize)
	case r.place.deleted:
		return refuse("backend %s: the file %s has no name any more", r.ID, r.path)
	case !r.place.writable:
		return refuse("backend %s is mapped read-only", r.ID)
	case r.Size%lazymig.PageSize != 0:
		return refuse("backend %s has %d bytes, which are not whole pages", r.ID, r.Size)
	}
	return passed(name, "backend %s: %s, %d MiB, inode %d, mapped at %#x", r.ID, r.path, r.Size>>20, r.file.number, r.place.start)
}

// checkOverlap refuses backends that share pages of one file.
func (f *findings) checkOverlap() vmm.Check {
	const name = "ram-overlap"
	for i, a := range f.rams {
		for _, b := range f.rams[i+1:] {
			if a.file != (inode{}) && a.file == b.file && a.offset < b.offset+b.Size && b.offset < a.offset+a.Size {
				return refused(name, "give every backend a file of its own", "backends %s and %s share a part of the file %s", a.ID, b.ID, a.path)
			}
		}
	}
	return passed(name, "every backend has its own part of a file")
}

func (f *findings) checkLayout() vmm.Check {
	const name = "ram-layout"
	layout := f.Layout()
	if err := layout.Validate(); err != nil {
		return refused(name, "use fewer, other memory backends", "%v", err)
	}
	return passed(name, "regions: %d; %d MiB, %d MiB of it allocated", len(layout), layout.Bytes()>>20, f.Allocated>>20)
}

// checkForeignShared looks for shared memory of the size of one of QEMU's
// other RAM blocks. The stream might leave such a block out, and nobody would
// serve it. QEMU does not say which blocks are shared.
func (f *findings) checkForeignShared() vmm.Check {
	const name = "ram-omitted"
	for _, v := range f.maps {
		if !v.shared || !v.isMemory() || f.isServed(v) {
			continue
		}
		for _, b := range f.Blocks {
			if !hasBackend(f.rams, b) && b.Size == v.length() {
				return refused(name, "remove the device that this memory belongs to", "the RAM block %s (%d bytes) may be the shared memory %s, which the stream would leave out and lazymig does not serve", b.Name, b.Size, v.path)
			}
		}
	}
	return passed(name, "the stream leaves out only what lazymig serves")
}

// isMemory tells files in memory from devices and files on disks.
func (v vma) isMemory() bool {
	for _, prefix := range []string{"/dev/shm/", "/memfd:", "/dev/zero", "/SYSV", "/run/", "/dev/hugepages"} {
		if strings.HasPrefix(v.path, prefix) {
			return true
		}
	}
	return false
}

func (f *findings) isServed(v vma) bool {
	return slices.ContainsFunc(f.rams, func(r ram) bool { return r.file != inode{} && r.file == v.inode })
}

// hasBackend reports whether one of rams is behind a RAM block.
func hasBackend(rams []ram, block Block) bool {
	return slices.ContainsFunc(rams, func(r ram) bool { return isBlockOf(block.Name, r.ID) && block.Size == r.Size })
}

// checkStream bounds what travels in QEMU's own stream.
func (f *findings) checkStream() vmm.Check {
	const name = "stream-size"
	var sum uint64
	for _, b := range f.Blocks {
		if !hasBackend(f.rams, b) {
			sum += b.Size
		}
	}
	if sum > maxStream {
		return refused(name, "remove devices with large memory of their own", "%d MiB of ROMs and device memory would travel in the device state, at most %d MiB can", sum>>20, maxStream>>20)
	}
	return passed(name, "%d KiB of ROMs and device memory travel in the device state", sum>>10)
}

// checkUsers refuses RAM that other processes use: their accesses to missing
// pages at the destination would not be trapped.
func (f *findings) checkUsers() vmm.Check {
	const name = "ram-users"
	var texts []string
	for _, r := range f.rams {
		for _, u := range f.users[r.file] {
			texts = append(texts, fmt.Sprintf("%s %s %s", u, u.how, r.path))
		}
	}
	if len(texts) > 0 {
		return refused(name, "end these processes, or use devices inside QEMU or the kernel (vhost-net) instead of vhost-user", "other processes use the guest's RAM: %s", list(texts))
	}
	return passed(name, "no other process uses the RAM files")
}

// fileSystem returns the type of the file system that holds a file.
func fileSystem(f *os.File) (int64, error) {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &fs); err != nil {
		return 0, fmt.Errorf("look at the file system of %s: %w", f.Name(), err)
	}
	return fs.Type, nil
}
