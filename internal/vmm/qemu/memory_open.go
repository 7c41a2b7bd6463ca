package qemu

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/lazymig/lazymig/internal/vmm"
	"golang.org/x/sys/unix"
)

// openRegion opens the file behind a mapping of the VMM, for reading: by the
// mapping itself, which needs privileges but no name, else by QEMU's own
// descriptor, else by name. What was opened is compared with the mapping.
func openRegion(pid int, r ram) (vmm.FileRegion, error) {
	candidates := []string{fmt.Sprintf("/proc/%d/map_files/%x-%x", pid, r.place.start, r.place.end)}
	candidates = append(candidates, descriptorsOf(pid, r.file)...)
	candidates = append(candidates, pathsOf(pid, r.path)...)
	var problems []error
	for _, path := range candidates {
		f, err := openFile(path, r.file)
		if err == nil {
			return vmm.NewFileRegion(f, r.offset, r.Size), nil
		}
		problems = append(problems, err)
	}
	return vmm.FileRegion{}, fmt.Errorf("open the RAM file %s (run as root or as QEMU's user): %w", r.path, errors.Join(problems...))
}

// openFile opens a path if it leads to the wanted regular file.
func openFile(path string, want inode) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	var status unix.Stat_t
	if err := unix.Fstat(fd, &status); err != nil {
		return nil, errors.Join(fmt.Errorf("look at %s: %w", path, err), f.Close())
	}
	if inodeOf(&status) != want {
		return nil, errors.Join(fmt.Errorf("%s is another file", path), f.Close())
	}
	return f, nil
}

// descriptorsOf lists a process's descriptors of a file, as paths.
func descriptorsOf(pid int, file inode) []string {
	directory := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(directory)
	if err != nil {
		return nil
	}
	var list []string
	for _, e := range entries {
		path := filepath.Join(directory, e.Name())
		if isDescriptorOf(path, file) {
			list = append(list, path)
		}
	}
	return list
}

// isDescriptorOf opens nothing: a device or a pipe must not be disturbed.
func isDescriptorOf(path string, file inode) bool {
	var status unix.Stat_t
	return unix.Stat(path, &status) == nil && inodeOf(&status) == file
}

// fileName is the name of a RAM file, held by its directory so that it can be
// removed after the VMM and its mount namespace have gone.
type fileName struct {
	path      string
	directory *os.File
	base      string
	inode     inode
}

func openName(pid int, r ram) (fileName, error) {
	base := filepath.Base(r.path)
	var problems []error
	for _, path := range pathsOf(pid, filepath.Dir(r.path)) {
		fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err == nil {
			return fileName{r.path, os.NewFile(uintptr(fd), path), base, r.file}, nil
		}
		problems = append(problems, &os.PathError{Op: "open", Path: path, Err: err})
	}
	return fileName{}, errors.Join(problems...)
}

// Unlink removes the names of the RAM files, which frees the memory once the
// VMM has ended and Close was called. A name that is missing, or that leads
// to another file by now, is left alone without an error. A file that any
// process but lazymig has mapped or open is left alone with an error.
func (m *FileMemory) Unlink() error {
	files := make(map[inode]string, len(m.names))
	for _, n := range m.names {
		files[n.inode] = n.path
	}
	users, err := findUsers(files, 0)
	if err != nil {
		return err
	}
	var problems []error
	for _, n := range m.names {
		problems = append(problems, n.unlink(users[n.inode]))
	}
	return errors.Join(problems...)
}

func (n *fileName) unlink(users []fileUser) error {
	if len(users) > 0 {
		return fmt.Errorf("keep the RAM file %s: it is used by %s", n.path, users[0])
	}
	fd := int(n.directory.Fd())
	var status unix.Stat_t
	err := unix.Fstatat(fd, n.base, &status, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) || err == nil && inodeOf(&status) != n.inode {
		return nil
	}
	if err == nil {
		err = unix.Unlinkat(fd, n.base, 0)
	}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove the RAM file %s: %w", n.path, err)
	}
	return nil
}
