package qemu

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// ram is one memory backend that a device of the guest uses.
type ram struct {
	memdev
	kind     string // type, such as "memory-backend-file"
	path     string // mem-path, empty for backends without a file
	offset   uint64 // of the backend in its file, bytes
	pageSize uint64 // bytes

	// What the process has of it, for a shared backend with a file.
	file  inode
	place vma   // the mapping, whole
	err   error // why file or place could not be found
}

// isFile says that the backend is one of the kind that lazymig serves, as far
// as QEMU tells.
func (r ram) isFile() bool { return r.Share && r.kind == "memory-backend-file" && r.path != "" }

// findRAM lists the memory backends in use, ordered by id, with their places
// in the process. Backends that no device uses have no named RAM block.
func (q queries) findRAM(ctx context.Context, pid int, blocks []blockInfo, maps []vma) ([]ram, error) {
	devs, err := q.memdevs(ctx)
	if err != nil {
		return nil, err
	}
	var list []ram
	for _, dev := range devs {
		block, ok := blockOf(blocks, dev)
		if !ok {
			continue
		}
		r := ram{memdev: dev, pageSize: block.pageSize}
		if err := q.readBackend(ctx, &r); err != nil {
			return nil, err
		}
		if r.isFile() {
			r.locate(pid, maps)
		}
		list = append(list, r)
	}
	slices.SortFunc(list, func(a, b ram) int { return cmp.Compare(a.ID, b.ID) })
	return list, nil
}

// isBlockOf tells whether a RAM block has the name of the backend id. Old
// machine types name it by the backend's path, some devices by their own path
// in front of the id.
func isBlockOf(block, id string) bool { return block == id || strings.HasSuffix(block, "/"+id) }

// blockOf finds the RAM block of a backend.
func blockOf(blocks []blockInfo, dev memdev) (blockInfo, bool) {
	i := slices.IndexFunc(blocks, func(b blockInfo) bool { return isBlockOf(b.name, dev.ID) && b.total == dev.Size })
	if i < 0 {
		return blockInfo{}, false
	}
	return blocks[i], true
}

func (q queries) readBackend(ctx context.Context, r *ram) error {
	object := "/objects/" + r.ID
	if err := q.property(ctx, object, "type", &r.kind); err != nil {
		return err
	}
	err := q.property(ctx, object, "mem-path", &r.path)
	if err != nil && !isCommandError(err) {
		return err
	}
	err = q.property(ctx, object, "offset", &r.offset) // since QEMU 8.1
	if err != nil && !isCommandError(err) {
		return err
	}
	return nil
}

// locate finds the backend's file by its path and its mapping by the file.
func (r *ram) locate(pid int, maps []vma) {
	status, err := statOf(pid, r.path)
	switch {
	case err != nil && isDeleted(maps, r.path):
		r.err = fmt.Errorf("the file %s has no name any more", r.path)
	case err != nil:
		r.err = fmt.Errorf("look at the file %s: %w", r.path, err)
	case status.Mode&unix.S_IFMT == unix.S_IFDIR:
		r.err = fmt.Errorf("mem-path %s names a directory, in which QEMU made a file without a name", r.path)
	default:
		r.file = inodeOf(&status)
		r.place, r.err = findPlace(mergeFile(maps, r.file), *r)
	}
}

func isDeleted(maps []vma, path string) bool {
	return slices.ContainsFunc(maps, func(v vma) bool { return v.deleted && v.path == path })
}

// findPlace returns the one mapping that holds all of a backend.
func findPlace(maps []vma, r ram) (vma, error) {
	var found []vma
	for _, v := range maps {
		if v.offset == r.offset && v.length() == r.Size {
			found = append(found, v)
		}
	}
	switch {
	case len(maps) == 0:
		return vma{}, fmt.Errorf("QEMU does not map the file that %s names now: it was renamed or replaced", r.path)
	case len(found) == 0:
		return vma{}, fmt.Errorf("QEMU maps %s at file offset %d for %d bytes, not at offset %d for %d bytes", r.path, maps[0].offset, maps[0].length(), r.offset, r.Size)
	case len(found) > 1:
		return vma{}, fmt.Errorf("QEMU maps %s %d times", r.path, len(found))
	}
	return found[0], nil
}

// pathsOf returns where a path of the process may be seen from here: in its
// mount namespace, and as it is (it may have changed its root since).
func pathsOf(pid int, path string) []string {
	if !filepath.IsAbs(path) {
		return []string{fmt.Sprintf("/proc/%d/cwd/%s", pid, path)}
	}
	return []string{fmt.Sprintf("/proc/%d/root%s", pid, path), path}
}

// statOf looks at a path as the process sees it.
func statOf(pid int, path string) (unix.Stat_t, error) {
	var status unix.Stat_t
	var first error
	for _, p := range pathsOf(pid, path) {
		err := unix.Stat(p, &status)
		if err == nil {
			return status, nil
		}
		if first == nil {
			first = &os.PathError{Op: "stat", Path: p, Err: err}
		}
	}
	return status, first
}
