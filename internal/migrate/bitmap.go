package migrate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/lazymig/lazymig"
)

// bitmap has one bit for each page of a guest. One goroutine uses it.
type bitmap []byte

// bitmapBytes returns the size of a bitmap for pages, whole 64-bit words.
func bitmapBytes(pages uint64) int { return int((pages + 63) / 64 * 8) }

func newBitmap(pages uint64) bitmap { return make(bitmap, bitmapBytes(pages)) }

func (b bitmap) has(p lazymig.PageNumber) bool { return b[p/8]&(1<<(p%8)) != 0 }
func (b bitmap) set(p lazymig.PageNumber)      { b[p/8] |= 1 << (p % 8) }
func (b bitmap) clear(p lazymig.PageNumber)    { b[p/8] &^= 1 << (p % 8) }

func (b bitmap) reset() { clear(b) }

// word returns the bits of pages 64·i to 64·i+63, the lowest page first.
func (b bitmap) word(i uint64) uint64 { return binary.LittleEndian.Uint64(b[8*i:]) }

func (b bitmap) setWord(i, w uint64) { binary.LittleEndian.PutUint64(b[8*i:], w) }

// pageMap is what must outlive the engine: which pages were installed and
// which were discarded by the guest. It is a file on tmpfs, mapped, so that a
// bit that was set survives the death of the process that set it.
type pageMap struct {
	path      string
	memory    []byte
	installed bitmap
	discarded bitmap
}

// createPageMap creates the file at path, which must not exist, for a guest of
// pages pages.
func createPageMap(path string, pages uint64) (*pageMap, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create page map: %w", err)
	}
	defer file.Close()
	half := bitmapBytes(pages)
	memory, err := mapBitmaps(file, 2*half)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("map page map %s: %w", path, err), os.Remove(path))
	}
	return &pageMap{path: path, memory: memory, installed: memory[:half], discarded: memory[half:]}, nil
}

// mapBitmaps allocates the file before it is mapped, so that a full tmpfs is
// an error here and not a SIGBUS later.
func mapBitmaps(file *os.File, size int) ([]byte, error) {
	if err := unix.Fallocate(int(file.Fd()), 0, 0, int64(size)); err != nil {
		return nil, err
	}
	return unix.Mmap(int(file.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
}

// close unmaps the file and, when the guest needs it no longer, removes it.
func (m *pageMap) close(remove bool) error {
	err := unix.Munmap(m.memory)
	m.memory, m.installed, m.discarded = nil, nil, nil
	if remove {
		err = errors.Join(err, os.Remove(m.path))
	}
	return err
}
