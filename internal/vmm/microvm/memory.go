package microvm

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lazymig/lazymig/internal/vmm"
)

// Memory is the RAM file of a guest, readable also when the VMM has ended.
// Any goroutine may use it, but for Close.
type Memory struct {
	path   string
	file   *os.File
	inode  uint64
	region vmm.FileRegion
}

func openMemory(path string, size uint64) (*Memory, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("open the RAM file: %w", err)
	}
	status, err := statFile(file)
	if err == nil && status.Size != int64(size) {
		err = fmt.Errorf("the RAM file %s has %d bytes, not %d", path, status.Size, size)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &Memory{path: path, file: file, inode: status.Ino, region: vmm.NewFileRegion(file, 0, size)}, nil
}

func statFile(file *os.File) (unix.Stat_t, error) {
	var status unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &status); err != nil {
		return status, fmt.Errorf("look at %s: %w", file.Name(), err)
	}
	return status, nil
}

// ReadAt reads len(p) bytes of the only region from offset on.
func (m *Memory) ReadAt(p []byte, region int, offset uint64) (int, error) {
	if region != 0 {
		return 0, fmt.Errorf("read guest memory: there is no region %d", region)
	}
	return m.region.ReadAt(p, offset)
}

// Extents lists what is no hole.
func (m *Memory) Extents(int) iter.Seq2[uint64, uint64] { return m.region.Extents() }

// Unlink removes the file's name, unless it leads to another file by now.
func (m *Memory) Unlink() error { return unlink(m.path, m.inode) }

// Close closes the file. Calls after the first do nothing.
func (m *Memory) Close() error {
	err := m.file.Close()
	if errors.Is(err, fs.ErrClosed) {
		return nil
	}
	return err
}

// unlink removes a file if it is still the one with that inode.
func unlink(path string, inode uint64) error {
	var status unix.Stat_t
	err := unix.Lstat(path, &status)
	if errors.Is(err, unix.ENOENT) || err == nil && status.Ino != inode {
		return nil
	}
	if err == nil {
		err = unix.Unlink(path)
	}
	if err != nil {
		return fmt.Errorf("remove the RAM file %s: %w", path, err)
	}
	return nil
}

// isMapped reports whether a process has mapped the file with that inode.
func isMapped(pid int, inode uint64) bool {
	maps, err := os.ReadFile(filepath.Join("/proc", fmt.Sprint(pid), "maps"))
	if err != nil {
		return false
	}
	want := fmt.Sprint(inode)
	for line := range strings.Lines(string(maps)) {
		if fields := strings.Fields(line); len(fields) > 4 && fields[4] == want {
			return true
		}
	}
	return false
}
