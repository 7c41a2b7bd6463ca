package vmm

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"os"

	"golang.org/x/sys/unix"
)

// FileRegion is a region of guest RAM in a file, for reading. Any goroutine
// may use it until its file is closed.
type FileRegion struct {
	file   *os.File
	fd     int    // of file
	offset uint64 // of the region in the file, bytes
	size   uint64 // bytes
}

// NewFileRegion returns the size bytes of file from offset on. The file stays
// the caller's; it must outlive the region.
func NewFileRegion(file *os.File, offset, size uint64) FileRegion {
	return FileRegion{file: file, fd: int(file.Fd()), offset: offset, size: size}
}

// File returns the file that the region is in.
func (r *FileRegion) File() *os.File { return r.file }

// ReadAt reads len(p) bytes from offset of the region on. A page that the
// hardware has lost gives unix.EIO; the n bytes before it are good.
func (r *FileRegion) ReadAt(p []byte, offset uint64) (int, error) {
	if offset > r.size || uint64(len(p)) > r.size-offset {
		return 0, fmt.Errorf("read guest memory: %d bytes at %d are not in a region of %d bytes", len(p), offset, r.size)
	}
	for n := 0; n < len(p); {
		got, err := unix.Pread(r.fd, p[n:], int64(r.offset+offset)+int64(n))
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return n, fmt.Errorf("read guest memory at %d of %s: %w", offset+uint64(n), r.file.Name(), err)
		case got == 0:
			return n, fmt.Errorf("read guest memory at %d of %s: the file was cut short: %w", offset+uint64(n), r.file.Name(), io.ErrUnexpectedEOF)
		default:
			n += got
		}
	}
	return len(p), nil
}

// Extents lists the runs of the region that are data, as offset and length in
// bytes, in order. What lies between them are holes: never written, or given
// back by the guest, and zero.
//
// It walks them by SEEK_DATA and SEEK_HOLE, which move the shared file position
// but do not use it. If the kernel cannot tell, the rest counts as data.
func (r *FileRegion) Extents() iter.Seq2[uint64, uint64] {
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
