package migrate

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/internal/vmm"
)

var (
	// ErrMemoryFile is returned for a file that cannot be a guest's memory, or
	// that somebody may be writing to.
	ErrMemoryFile = errors.New("not a memory snapshot that can be served")
	// ErrMemoryGone is returned when the memory that was being served has
	// changed, or is gone for good: nobody may go on with it.
	ErrMemoryGone = errors.New("the memory is gone")
)

// snapshot is the memory file of a guest that does not run. Its content must
// not change while it is served: each read is followed by a look at size and
// time of modification, and one look that differs ends the service for good.
// The time is written before new content can be read, so a read that saw any
// is never answered. Writes through a mapping on tmpfs do not set it: so a file
// that is open for writing is refused at the start. Any goroutine may use it.
type snapshot struct {
	file   *os.File
	fd     int // of file
	region vmm.FileRegion
	size   uint64
	stamp  stamp
	id     [16]byte // tells it from other snapshots, and from this one changed
	// changed is called once, with the reason.
	changed func(error)
	tell    sync.Once
}

// stamp is what a change of the content changes.
type stamp struct {
	size    int64
	seconds int64
	nanos   int64
}

func openSnapshot(path string, changed func(error)) (*snapshot, error) {
	s, err := newSnapshot(path)
	if err != nil {
		return nil, fmt.Errorf("open the memory %s: %w", path, err)
	}
	s.changed = changed
	return s, nil
}

func newSnapshot(path string) (*snapshot, error) {
	// A named pipe would wait for a writer otherwise.
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	s := &snapshot{file: os.NewFile(uintptr(fd), path), fd: fd}
	if err := s.look(); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// look checks the file and remembers what it is like.
func (s *snapshot) look() error {
	var status unix.Stat_t
	if err := unix.Fstat(s.fd, &status); err != nil {
		return err
	}
	switch {
	case status.Mode&unix.S_IFMT != unix.S_IFREG:
		return fmt.Errorf("%w: it is no regular file", ErrMemoryFile)
	case status.Size == 0 || status.Size%lazymig.PageSize != 0:
		return fmt.Errorf("%w: its size of %d bytes is no multiple of %d", ErrMemoryFile, status.Size, lazymig.PageSize)
	case uint64(status.Size) > lazymig.MaxBytes:
		return fmt.Errorf("%w: it has more than %d bytes", ErrMemoryFile, lazymig.MaxBytes)
	case openForWriting(s.fd):
		return fmt.Errorf("%w: another process has it open for writing", ErrMemoryFile)
	}
	s.size, s.stamp = uint64(status.Size), stampOf(&status)
	s.region = vmm.NewFileRegion(s.file, 0, s.size)
	sum := sha256.New()
	sum.Write([]byte("lazymig memory snapshot"))
	for _, v := range []uint64{
		uint64(status.Dev), status.Ino, uint64(s.stamp.size),
		uint64(s.stamp.seconds), uint64(s.stamp.nanos),
	} {
		sum.Write(binary.LittleEndian.AppendUint64(nil, v))
	}
	copy(s.id[:], sum.Sum(nil))
	return nil
}

func stampOf(status *unix.Stat_t) stamp {
	return stamp{status.Size, status.Mtim.Sec, status.Mtim.Nsec}
}

// openForWriting reports whether a process has the file open for writing, as
// far as the kernel tells: it gives no lease on such a file. A file system
// without leases, or a file of another user, counts as closed.
func openForWriting(fd int) bool {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_RDLCK)
	if err == nil {
		_, _ = unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_UNLCK) // or when the file is closed
	}
	return errors.Is(err, unix.EAGAIN)
}

// check fails, now and ever after, once the file has changed.
func (s *snapshot) check() error {
	var status unix.Stat_t
	if err := unix.Fstat(s.fd, &status); err != nil {
		return fmt.Errorf("look at the memory: %w", err)
	}
	if now := stampOf(&status); now != s.stamp {
		err := fmt.Errorf("%w: the file was changed while it was served", ErrMemoryGone)
		if now.size != s.stamp.size {
			err = fmt.Errorf("%w: the file had %d bytes and now has %d", ErrMemoryGone, s.stamp.size, now.size)
		}
		s.tell.Do(func() { s.changed(err) })
		return err
	}
	return nil
}

// ReadAt reads len(p) bytes at offset. There is only region 0. What it returns
// without an error was read while the file was unchanged.
func (s *snapshot) ReadAt(p []byte, _ int, offset uint64) (int, error) {
	n, err := s.region.ReadAt(p, offset)
	return n, errors.Join(err, s.check())
}

// Extents lists the runs that are data. If the file has changed, everything
// is: then no hole is promised, and reading it fails.
func (s *snapshot) Extents(int) iter.Seq2[uint64, uint64] {
	list := s.extents()
	if s.check() != nil {
		list = [][2]uint64{{0, s.size}}
	}
	return func(yield func(uint64, uint64) bool) {
		for _, e := range list {
			if !yield(e[0], e[1]) {
				return
			}
		}
	}
}

// extents lists the data in whole pages. Behind maxExtents of them the rest
// counts as data.
func (s *snapshot) extents() (list [][2]uint64) {
	for from, size := range s.region.Extents() {
		if len(list) == maxExtents {
			return append(list, [2]uint64{from, s.size - from})
		}
		// Whole pages: a file system may have smaller blocks.
		to := min((from+size+lazymig.PageSize-1)&^(lazymig.PageSize-1), s.size)
		from &^= lazymig.PageSize - 1
		if last := len(list) - 1; last >= 0 && from <= list[last][0]+list[last][1] {
			list[last][1] = to - list[last][0]
		} else {
			list = append(list, [2]uint64{from, to - from})
		}
	}
	return list
}

// layout is that of the file: one region.
func (s *snapshot) layout() lazymig.Layout { return snapshotLayout(s.size) }

// snapshotLayout is the layout of a memory of size bytes.
func snapshotLayout(size uint64) lazymig.Layout {
	return lazymig.Layout{{Name: "memory", Size: size}}
}

func (s *snapshot) close() error { return s.file.Close() }
