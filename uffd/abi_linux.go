package uffd

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The kernel's ABI, from include/uapi/linux/userfaultfd.h.

const (
	apiVersion = 0xAA // UFFD_API, and the type of all ioctls

	userModeOnly = 1 // UFFD_USER_MODE_ONLY, a flag of the system call

	registerModeMissing = 1 << 0 // UFFDIO_REGISTER_MODE_MISSING

	eventPagefault = 0x12
	eventFork      = 0x13
	eventRemap     = 0x14
	eventRemove    = 0x15
	eventUnmap     = 0x16

	faultFlagWrite = 1 << 0 // UFFD_PAGEFAULT_FLAG_WRITE

	// messageSize is the size of struct uffd_msg: a byte for the event, seven
	// reserved ones and a union of 24 bytes.
	messageSize = 32
)

// Numbers of the ioctls, which are also their bits in apiRecord.ioctls and
// registerRecord.ioctls.
const (
	numberRegister   = 0x00
	numberUnregister = 0x01
	numberWake       = 0x02
	numberCopy       = 0x03
	numberZeropage   = 0x04
	numberPoison     = 0x08
	numberAPI        = 0x3F
)

// Requests: direction in bits 30 and 31, size of the record from bit 16, type
// from bit 8, number. The kernel's header has UNREGISTER and WAKE as reads.
const (
	directionRead      = 2 << 30
	directionReadWrite = 3 << 30

	ioctlNew        = apiVersion << 8 // USERFAULTFD_IOC_NEW on /dev/userfaultfd
	ioctlAPI        = directionReadWrite | 24<<16 | apiVersion<<8 | numberAPI
	ioctlRegister   = directionReadWrite | 32<<16 | apiVersion<<8 | numberRegister
	ioctlUnregister = directionRead | 16<<16 | apiVersion<<8 | numberUnregister
	ioctlWake       = directionRead | 16<<16 | apiVersion<<8 | numberWake
	ioctlCopy       = directionReadWrite | 40<<16 | apiVersion<<8 | numberCopy
	ioctlZeropage   = directionReadWrite | 32<<16 | apiVersion<<8 | numberZeropage
	ioctlPoison     = directionReadWrite | 32<<16 | apiVersion<<8 | numberPoison
)

// apiRecord is struct uffdio_api.
type apiRecord struct {
	api      uint64
	features uint64
	ioctls   uint64
}

// rangeRecord is struct uffdio_range.
type rangeRecord struct {
	start  uint64
	length uint64
}

// registerRecord is struct uffdio_register.
type registerRecord struct {
	rangeRecord
	mode   uint64
	ioctls uint64
}

// copyRecord is struct uffdio_copy. The source is a pointer and not a number,
// so that the page stays alive, and the address right if it lies on a
// goroutine's stack and that moves.
type copyRecord struct {
	destination uint64
	source      *byte
	length      uint64
	mode        uint64
	copied      int64
}

// fillRecord is struct uffdio_zeropage and struct uffdio_poison.
type fillRecord struct {
	rangeRecord
	mode   uint64
	filled int64
}

// The sizes are part of the request numbers. A wrong one does not compile.
var (
	_ [24]struct{} = [unsafe.Sizeof(apiRecord{})]struct{}{}
	_ [16]struct{} = [unsafe.Sizeof(rangeRecord{})]struct{}{}
	_ [32]struct{} = [unsafe.Sizeof(registerRecord{})]struct{}{}
	_ [24]struct{} = [unsafe.Offsetof(registerRecord{}.ioctls)]struct{}{}
	_ [40]struct{} = [unsafe.Sizeof(copyRecord{})]struct{}{}
	_ [8]struct{}  = [unsafe.Offsetof(copyRecord{}.source)]struct{}{}
	_ [32]struct{} = [unsafe.Offsetof(copyRecord{}.copied)]struct{}{}
	_ [32]struct{} = [unsafe.Sizeof(fillRecord{})]struct{}{}
	_ [24]struct{} = [unsafe.Offsetof(fillRecord{}.filled)]struct{}{}
)

func (r *apiRecord) handshake(fd int) unix.Errno {
	// SAFETY: the record has the size that the request number says, and lives
	// until the call returns.
	return ioctl(fd, ioctlAPI, unsafe.Pointer(r))
}

func (r *registerRecord) register(fd int) unix.Errno {
	// SAFETY: as in handshake.
	return ioctl(fd, ioctlRegister, unsafe.Pointer(r))
}

// do makes one of the two requests that take a range and answer nothing.
func (r *rangeRecord) do(fd int, request uintptr) unix.Errno {
	// SAFETY: as in handshake; ioctlUnregister and ioctlWake take this record.
	return ioctl(fd, request, unsafe.Pointer(r))
}

// do makes one of the two requests that fill a range without a source.
func (r *fillRecord) do(fd int, request uintptr) unix.Errno {
	// SAFETY: as in handshake; ioctlZeropage and ioctlPoison take this record.
	return ioctl(fd, request, unsafe.Pointer(r))
}

func (r *copyRecord) copy(fd int) unix.Errno {
	// SAFETY: as in handshake. The kernel reads r.length bytes at r.source,
	// which the caller took from a slice that long.
	errno := ioctl(fd, ioctlCopy, unsafe.Pointer(r))
	runtime.KeepAlive(r.source)
	return errno
}

func ioctl(fd int, request uintptr, record unsafe.Pointer) unix.Errno {
	// SAFETY: the conversion stands in the call's argument list, which keeps
	// the record where it is until the call returns.
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(record))
	return errno
}

// create makes a userfaultfd by the system call.
func create(flags int) (int, error) {
	fd, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, uintptr(flags), 0, 0)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

// createFrom makes a userfaultfd from an open /dev/userfaultfd.
func createFrom(deviceFD, flags int) (int, error) {
	fd, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(deviceFD), ioctlNew, uintptr(flags))
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}
