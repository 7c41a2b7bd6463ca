package pagecache

import (
	"errors"
	"fmt"
	"os"

	"github.com/lazymig/lazymig"
	"golang.org/x/sys/unix"
)

// rawLayout is a file whose blocks are those of the guest. Holes are left out
// where the file system tells of them. A last block that is not whole is, too.
func rawLayout(file *os.File, size int64) layout {
	size -= size % lazymig.PageSize
	return func(emit func(extent) error) error {
		for at := int64(0); at < size; {
			begin, end, err := nextData(file, at, size)
			if err != nil {
				return err
			}
			if begin < end {
				if err := emit(extent{begin, end - begin}); err != nil {
					return err
				}
			}
			at = end
		}
		return nil
	}
}

// nextData returns the blocks at or behind at that have data: none at the end.
// at and size are aligned.
func nextData(file *os.File, at, size int64) (begin, end int64, err error) {
	begin, err = file.Seek(at, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		return size, size, nil
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP):
		return at, size, nil // it cannot tell: all of it is data
	case err != nil:
		return 0, 0, fmt.Errorf("look for data: %w", err)
	}
	end, err = file.Seek(begin, unix.SEEK_HOLE)
	if errors.Is(err, unix.ENXIO) { // it has become shorter
		return size, size, nil
	} else if err != nil {
		return 0, 0, fmt.Errorf("look for a hole: %w", err)
	}
	// File systems may have smaller blocks.
	const page = lazymig.PageSize
	begin -= begin % page
	end = (end + page - 1) / page * page
	begin, end = min(max(begin, at), size), min(end, size)
	return begin, max(end, begin, min(at+page, size)), nil
}

// dataBytes is about what a scan will read, for its progress.
func dataBytes(file *os.File, size int64) int64 {
	var stat unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &stat); err != nil || stat.Mode&unix.S_IFMT != unix.S_IFREG {
		return size
	}
	return min(size, stat.Blocks*512)
}
