package doctor

import (
	"context"
	"errors"
	"io/fs"
	"strconv"
	"strings"

	"github.com/lazymig/lazymig/internal/vmm"
)

// wantedMemory is the RAM of the guest that is to come, or the least.
func (h *host) wantedMemory() uint64 {
	if h.Memory > 0 {
		return h.Memory
	}
	return smallestGuest
}

// verdict returns the preflight's verdict of one name, the worst if there are
// several.
func verdict(list []vmm.Check, name string) finding {
	worst := ok("enough")
	for _, c := range list {
		if f := fromCheck(c); c.Name == name && (worst.status == OK || f.status == NotAble) {
			worst = f
		}
	}
	return worst
}

// checkTmpfs is about the file system that RAM files are made in.
func checkTmpfs(_ context.Context, h *host) finding {
	mount := "mount -t tmpfs -o size=" + mountSize(h.Memory) + " tmpfs " + h.RAMDir
	room, err := h.room(h.RAMDir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return notAble("mkdir -p "+h.RAMDir+" && "+mount, "there is no %s", h.RAMDir)
	case err != nil:
		return unknown("run as root", "%v", err)
	case !room.IsTmpfs:
		return notAble(mount, "%s is not on a tmpfs: guest RAM has to be in memory", h.RAMDir)
	}
	if err := h.writable(h.RAMDir); err != nil {
		return notAble("mount -o remount,rw,mode=1777 "+h.RAMDir, "no file can be made in %s: %v", h.RAMDir, err)
	}
	f := verdict(room.Check(h.wantedMemory()), "tmpfs-space")
	if f.status == OK {
		return ok("%s: %s free of %s", h.RAMDir, bytesText(room.Free), bytesText(room.Size))
	}
	f.fix = "mount -o remount,size=" + mountSize(h.Memory) + " " + h.RAMDir
	return f
}

// mountSize is what to give a tmpfs for a guest, in the form of mount's size=.
func mountSize(memory uint64) string {
	if memory == 0 {
		return "75%"
	}
	return bytesMount(memory + memory/8)
}

func checkHostMemory(_ context.Context, h *host) finding {
	room, err := h.room(h.RAMDir)
	if err != nil {
		return unknown("see tmpfs above", "%v", err)
	}
	f := verdict(room.Check(h.wantedMemory()), "host-memory")
	if f.status == OK {
		return ok("%s for new pages, swap included", bytesText(room.Memory))
	}
	f.fix = "end or move other guests, or add memory: free -m shows it"
	return f
}

func checkMemoryGroup(_ context.Context, h *host) finding {
	room, err := h.room(h.RAMDir)
	if err != nil {
		return unknown("see tmpfs above", "%v", err)
	}
	f := verdict(room.Check(h.wantedMemory()), "memory-cgroup")
	if f.status == OK {
		return ok("%s by control groups", leaves(room.Group))
	}
	f.fix = "systemctl set-property UNIT MemoryMax=infinity, docker run --memory 0, or start lazymig in another group"
	return f
}

func leaves(n uint64) string {
	if n == ^uint64(0) {
		return "no limit"
	}
	return bytesText(n) + " left"
}

func checkHugePages(_ context.Context, h *host) finding {
	c, err := h.huge(h.RAMDir)
	if err != nil {
		return unknown("see tmpfs above", "%v", err)
	}
	f := fromCheck(c)
	if f.status == OK {
		return ok("shmem_enabled is %s; it does no harm here", h.hugePolicy())
	}
	return f
}

// hugePolicy returns the system's policy for huge pages in shared memory.
func (h *host) hugePolicy() string {
	text, err := h.read("/sys/kernel/mm/transparent_hugepage/shmem_enabled")
	_, after, _ := strings.Cut(text, "[")
	word, _, chosen := strings.Cut(after, "]")
	if err != nil || !chosen {
		return "unknown"
	}
	return word
}

// bytesMount rounds up to the mebibytes that mount understands.
func bytesMount(n uint64) string { return strconv.FormatUint((n+1<<20-1)>>20, 10) + "M" }
