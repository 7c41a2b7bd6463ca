package uffd

import (
	"os"

	"github.com/lazymig/lazymig"
	"golang.org/x/sys/unix"
)

// Copy, ZeroPage and Poison install pages that are missing and wake the
// threads that wait for them. They share their results:
//
//	n == length, err == nil  all was installed
//	n > 0, unix.EAGAIN       the first n bytes were; call again for the rest,
//	                         and that call says what is wrong there
//	0, unix.EEXIST           the first page is present already; nothing was done
//	0, unix.EAGAIN           the address space is changing: a removal waits to
//	                         be read, or was a moment ago. Read events, then
//	                         try again; never wait for it in place
//	0, unix.ENOENT           the range is not mapped, or not registered
//	0, unix.ENOMEM           out of memory, or the cgroup is: try again later
//	0, unix.ESRCH            the process has ended
//	0, unix.EFAULT           the source of Copy cannot be read
//	0, unix.EINVAL           length or address is not a multiple of the page size
//	0, os.ErrClosed          the Handle is closed
//
// The errors come as they are, without text, so that a call allocates nothing.

// Copy installs page, one or more whole pages, at address in the registered
// memory. Runs of 16 to 64 pages are the fastest. The page may be anywhere: it
// is held in place until Copy returns, and not used after that.
func (h *Handle) Copy(address uint64, page []byte) (n int, err error) {
	if !wholePages(uint64(len(page))) {
		return 0, unix.EINVAL
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.fd < 0 {
		return 0, os.ErrClosed
	}
	record := copyRecord{destination: address, source: &page[0], length: uint64(len(page))}
	errno := record.copy(h.fd)
	return progress(record.copied, errno)
}

// ZeroPage installs zeroed pages over length bytes from start. On shared
// memory it allocates them.
func (h *Handle) ZeroPage(start, length uint64) (n int, err error) {
	return h.fill(ioctlZeropage, start, length)
}

// Poison marks length bytes from start as lost: a thread that touches them gets
// SIGBUS. The mark is in the page tables of the process only: the memory's file
// has a hole there, and a later Copy replaces the mark. A kernel without
// FeaturePoison answers unix.EINVAL.
func (h *Handle) Poison(start, length uint64) (n int, err error) {
	return h.fill(ioctlPoison, start, length)
}

func (h *Handle) fill(request uintptr, start, length uint64) (int, error) {
	if !wholePages(length) {
		return 0, unix.EINVAL
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.fd < 0 {
		return 0, os.ErrClosed
	}
	record := fillRecord{rangeRecord: rangeRecord{start, length}}
	errno := record.do(h.fd, request)
	return progress(record.filled, errno)
}

func wholePages(length uint64) bool { return length > 0 && length%lazymig.PageSize == 0 }

// progress turns the kernel's two answers into one. The record's field is
// signed: bytes done, or the negative error again. It is zero, as it was, if
// the kernel gave up before writing it.
func progress(done int64, errno unix.Errno) (int, error) {
	if errno == 0 {
		return int(done), nil
	}
	return int(max(done, 0)), errno
}
