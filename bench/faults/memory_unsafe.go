package faults

import (
	"errors"
	"fmt"
	"net"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/lazymig/lazymig/internal/vmm/firecracker"
	"github.com/lazymig/lazymig/uffd"
)

// MapMemory maps memory without a page in it.
func MapMemory(kind Memory, pages int) ([]byte, error) {
	length := pages * pageBytes
	file, flags := -1, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS
	if kind == Shared {
		var err error
		if file, err = unix.MemfdCreate("lazymig-bench", unix.MFD_CLOEXEC); err != nil {
			return nil, fmt.Errorf("make shared memory: %w", err)
		}
		defer unix.Close(file)
		if err := unix.Ftruncate(file, int64(length)); err != nil {
			return nil, fmt.Errorf("make shared memory: %w", err)
		}
		flags = unix.MAP_SHARED
	}
	memory, err := unix.Mmap(file, 0, length, unix.PROT_READ|unix.PROT_WRITE, flags)
	if err != nil {
		return nil, fmt.Errorf("map memory: %w", err)
	}
	if err := unix.Madvise(memory, unix.MADV_NOHUGEPAGE); err != nil && !errors.Is(err, unix.EINVAL) { // a kernel without them
		return nil, fmt.Errorf("map memory: %w", err)
	}
	return memory, nil
}

// HandOver registers the memory and gives it to the handler, as a VMM does
// that restores a snapshot.
func HandOver(memory []byte, socket string) (*uffd.Handle, error) {
	handle, err := uffd.Open()
	if err != nil {
		return nil, err
	}
	if _, err := handle.Handshake(uffd.FeatureEventRemove); err != nil {
		return nil, err
	}
	// SAFETY: the mapping is not the Go heap, and stays for the process's life.
	address := uint64(uintptr(unsafe.Pointer(unsafe.SliceData(memory))))
	if err := handle.Register(address, uint64(len(memory))); err != nil {
		return nil, err
	}
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("reach the handler: %w", err)
	}
	defer conn.Close()
	region := firecracker.Region{Address: address, Size: uint64(len(memory)), PageSize: pageBytes}
	return handle, firecracker.Send(conn, []firecracker.Region{region}, handle.Fd())
}
