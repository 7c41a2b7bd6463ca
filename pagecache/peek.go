package pagecache

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/lazymig/lazymig"
)

// errWouldWait is returned by a read that storage would have to be waited for.
var errWouldWait = errors.New("it is not in memory")

// peekAt fills p from a file as far as the host has it in memory; it never
// waits for storage (RWF_NOWAIT). Where the file system cannot tell, it is
// errWouldWait.
func peekAt(f *os.File, p []byte, offset int64) error {
	var iovs [1][]byte
	iovs[0] = p
	for {
		n, err := unix.Preadv2(int(f.Fd()), iovs[:], offset, unix.RWF_NOWAIT)
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
	if s.inMemory {
		return s.Read(d, page), false
	}
	local, ok := sh.hit(tag)
	if !ok {
		return false, false
	}
	err := s.arena.PeekAt(page, offset(local, i))
	switch {
	case errors.Is(err, errWouldWait):
		return false, true
	case err == nil && s.verify(&d, page):
		return true, false
	}
	return false, true // Read finds out what is wrong, and counts it
}

// Peek is Read for a page that is in this host's memory: it never waits for
// storage. wait says that Read might find it.
func (i *Images) Peek(d Digest, page []byte) (ok, wait bool) {
	page = page[:lazymig.PageSize]
	for _, m := range i.images {
		for block := range m.table.find(&d) {
			file := m.file.file.Load()
			if file == nil || peekAt(file, page, offsetOf(block)) != nil {
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
