package qemu

import (
	"errors"
	"fmt"
	"iter"

	"github.com/lazymig/lazymig/internal/vmm"
)

// FileMemory reads the RAM files of a guest. It keeps them open, so their
// content stays readable after the VMM has ended and after the names are
// gone. Any goroutine may use it, but for Close.
type FileMemory struct {
	regions []vmm.FileRegion
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
	return m.regions[region].ReadAt(p, offset)
}

// Extents lists the runs of a region that are data, as offset and length in
// bytes, in order. What lies between them are holes: never written, or given
// back by the guest, and zero.
func (m *FileMemory) Extents(region int) iter.Seq2[uint64, uint64] {
	return m.regions[region].Extents()
}

// Allocated returns how much of all regions is data, in bytes.
func (m *FileMemory) Allocated() uint64 {
	var sum uint64
	for _, r := range m.regions {
		for _, n := range r.Extents() {
			sum += n
		}
	}
	return sum
}

// Close closes the files. Calls after the first do nothing.
func (m *FileMemory) Close() error {
	var problems []error
	for _, r := range m.regions {
		problems = append(problems, r.File().Close())
	}
	for _, n := range m.names {
		problems = append(problems, n.directory.Close())
	}
	m.regions, m.names = nil, nil
	return errors.Join(problems...)
}
