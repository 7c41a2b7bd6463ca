package qemu

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"os"

	"golang.org/x/sys/unix"
)

// fileRegion is one RAM backend in its file.
type fileRegion struct {
	file   *os.File
	fd     int // of file
	inode  inode
	offset uint64 // of the region in the file, bytes
	size   uint64 // bytes
}

// FileMemory reads the RAM files of a guest. It keeps them open, so their
// content stays readable after the VMM has ended and after the names are
// gone. Any goroutine may use it, but for Close.
type FileMemory struct {
	regions []fileRegion
	names   []fileName
}

// newFileMemory opens the RAM files of the VMM pid.
func newFileMemory(pid int, rams []ram) (*FileMemory, error) {
	m := &FileMemory{}
	for _, r := range rams {
		if err := m.add(pid, r); err != nil {
			return nil, errors.Join(fmt.Errorf("open the memory of backend %s: %w", r.ID, err), m.Close())
		}
	}
	if len(m.regions) == 0 {
		return nil, ErrNoRAMFile
	}
	return m, nil
}

func (m *FileMemory) add(pid int, r ram) error {
	switch {
	case !r.isFile():
		return fmt.Errorf("%w: it is a %s with share=%v", ErrNoRAMFile, r.kind, r.Share)
	case r.err != nil:
		return fmt.Errorf("%w: %w", ErrNoRAMFile, r.err)
	}
	region, err := openRegion(pid, r)
	if err != nil {
		return err
	}
	m.regions = append(m.regions, region)
	name, err := openName(pid, r)
	if err != nil {
		return err
	}
	m.names = append(m.names, name)
	return nil
}

// ReadAt reads len(p) bytes of a region (numbered as in Description.Layout)
// from offset on. A page that the hardware has lost gives unix.EIO; the n
// bytes before it are good.
func (m *FileMemory) ReadAt(p []byte, region int, offset uint64) (int, error) {
	if region < 0 || region >= len(m.regions) {
		return 0, fmt.Errorf("read guest memory: there is no region %d", region)
	}
	r := &m.regions[region]
	if offset > r.size || uint64(len(p)) > r.size-offset {
		return 0, fmt.Errorf("read guest memory: %d bytes at %d are not in region %d of %d bytes", len(p), offset, region, r.size)
	}
	for n := 0; n < len(p); {
		got, err := unix.Pread(r.fd, p[n:], int64(r.offset+offset)+int64(n))
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return n, fmt.Errorf("read guest memory at %d of region %d: %w", offset+uint64(n), region, err)
		case got == 0:
			return n, fmt.Errorf("read guest memory at %d of region %d: the file was cut short: %w", offset+uint64(n), region, io.ErrUnexpectedEOF)
		default:
			n += got
		}
	}
	return len(p), nil
}

// Extents lists the runs of a region that are data, as offset and length in
// bytes, in order. What lies between them are holes: never written, or given
// back by the guest, and zero.
func (m *FileMemory) Extents(region int) iter.Seq2[uint64, uint64] {
	return m.regions[region].extents()
}

// Allocated returns how much of all regions is data, in bytes.
func (m *FileMemory) Allocated() uint64 {
	var sum uint64
	for _, r := range m.regions {
		for _, n := range r.extents() {
			sum += n
		}
	}
	return sum
}

// Close closes the files. Calls after the first do nothing.
func (m *FileMemory) Close() error {
	var problems []error
	for _, r := range m.regions {
		problems = append(problems, r.file.Close())
	}
	for _, n := range m.names {
		problems = append(problems, n.directory.Close())
	}
	m.regions, m.names = nil, nil
	return errors.Join(problems...)
}

// extents walks the data of the region by SEEK_DATA and SEEK_HOLE, which move
// the shared file position but do not use it. If the kernel cannot tell, the
// rest counts as data.
func (r *fileRegion) extents() iter.Seq2[uint64, uint64] {
	return func(yield func(uint64, uint64) bool) {
		end := r.offset + r.size
		for at := r.offset; at < end; {
			data, err := unix.Seek(r.fd, int64(at), unix.SEEK_DATA)
			switch {
			case errors.Is(err, unix.ENXIO):
				return // a hole up to the end of the file
			case err != nil:
				data = int64(at)
			}
			hole, err := unix.Seek(r.fd, data, unix.SEEK_HOLE)
			if err != nil {
				hole = int64(end)
			}
			from, to := uint64(data), min(uint64(hole), end)
			if from >= to || !yield(from-r.offset, to-from) {
				return
			}
			at = to
		}
	}
}
