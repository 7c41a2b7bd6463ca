package pagecache

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/lazymig/lazymig"
)

// errWouldWait is returned by a read that storage would have to be waited for.
var errWouldWait = errors.New("it is not in memory")

// peekAt fills p from a file as far as the host has it in memory. It does not
// wait for storage: RWF_NOWAIT alone would, since the kernel starts to read ahead
// before it says no, so the kernel is asked first (cachestat, Linux 6.5). On an
// older one, or where it may not be asked, it is errWouldWait. A file system in
// memory knows no RWF_NOWAIT and needs none.
func peekAt(f *os.File, p []byte, offset int64, inMemory bool) error {
	fd := int(f.Fd())
	pages := unix.CachestatRange{Off: uint64(offset), Len: uint64(len(p))}
	var cached unix.Cachestat_t
	if err := unix.Cachestat(uint(fd), &pages, &cached, 0); err != nil || cached.Cache*lazymig.PageSize < uint64(len(p)) {
		return errWouldWait
	}
	flags := unix.RWF_NOWAIT
	if inMemory {
		flags = 0
	}
	var iovs [1][]byte
	iovs[0] = p
	for {
		n, err := unix.Preadv2(fd, iovs[:], offset, flags)
		switch {
		case err == nil && n == len(p):
			return nil
		case errors.Is(err, unix.EINTR):
		case err == nil || errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EOPNOTSUPP):
			return errWouldWait
		default:
			return os.NewSyscallError("preadv2", err)
		}
	}
}

// Peek is Read for a page that is in this host's memory: it never waits for
// storage. wait says that Read might find it.
func (s *Store) Peek(d Digest, page []byte) (ok, wait bool) {
	if len(page) != lazymig.PageSize || s.closed.Load() {
		return false, false
	}
	tag := d.tag()
	sh, i := s.shard(tag)
	local, ok := sh.look(tag)
	if !ok {
		return false, false
	}
	if err := s.arena.PeekAt(page, offset(local, i), s.inMemory); err != nil || !s.verify(&d, page) {
		return false, true // Read finds out what is wrong, if something is, and counts it
	}
	_, _ = sh.hit(tag) // it is a use
	return true, false
}

// Peek is Read for a page that is in this host's memory: it never waits for
// storage. wait says that Read might find it.
func (i *Images) Peek(d Digest, page []byte) (ok, wait bool) {
	page = page[:lazymig.PageSize]
	for _, m := range i.images {
		for block := range m.table.find(&d) {
			file := m.file.file.Load()
			if file == nil || peekAt(file, page, offsetOf(block), false) != nil {
				wait = true
				continue
			}
			if i.verify(&d, page) {
				i.hits.Add(1)
				return true, false
			}
		}
	}
	return false, wait
}

// Peek is Read for a page that is in this host's memory: it never waits for
// storage. wait says that Read might find it.
func (c *Cache) Peek(d Digest, page []byte) (ok, wait bool) {
	ok, wait = c.store.Peek(d, page)
	if ok || c.images == nil {
		return ok, wait
	}
	ok, more := c.images.Peek(d, page)
	return ok, !ok && (wait || more)
}
