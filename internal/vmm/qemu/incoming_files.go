package qemu

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/lazymig/lazymig"
)

// ramFile is one RAM file that this destination created for a memory backend.
type ramFile struct {
	id     string // the memory backend's
	path   string
	size   uint64
	huge   bool     // on hugetlbfs
	file   *os.File // nil before create and after close
	device uint64
	inode  uint64
}

// checkPlace refuses a mem-path beside which no RAM file can be made.
func (b *backend) checkPlace() error {
	refuse := func(reason, fix string) error { return &Refusal{"mem-path=" + b.path, reason, fix} }
	if info, err := os.Stat(b.path); err == nil && info.IsDir() {
		return refuse("a directory: QEMU would use a file without a name", "name a file in it, such as mem-path="+filepath.Join(b.path, b.id))
	}
	directory := filepath.Dir(b.path)
	var fs unix.Statfs_t
	switch err := unix.Statfs(directory, &fs); {
	case err != nil:
		return refuse(fmt.Sprintf("%s: %v", directory, err), "create the directory on a tmpfs, or use /dev/shm")
	case fs.Type == unix.HUGETLBFS_MAGIC:
		b.huge = true
		reserve, _ := b.properties.get("reserve")
		if reserve == "off" {
			return refuse("reserve=off: a guest that needs a huge page when there is none left would be lost", "leave reserve out")
		}
		if reason, fix := checkHugePages(uint64(fs.Bsize), b.size); reason != "" {
			return refuse(reason, fix)
		}
	case fs.Type != unix.TMPFS_MAGIC:
		return refuse(directory+" is on neither a tmpfs nor a hugetlbfs", "use a path in /dev/shm on both hosts")
	}
	return nil
}

// checkHugePages says why memory of that many bytes in huge pages of pageSize
// cannot be served, and what to do about it.
func checkHugePages(pageSize, size uint64) (reason, fix string) {
	switch {
	case pageSize != lazymig.HugePageSize:
		return fmt.Sprintf("its huge pages have %s: a thread that touches one would wait for as long as all of that takes", mebibytes(pageSize)),
			"mount -t hugetlbfs -o pagesize=2M none DIRECTORY, and use a path there on both hosts"
	case size%lazymig.HugePageSize != 0:
		return fmt.Sprintf("%d bytes are not whole huge pages of %s", size, mebibytes(pageSize)), "make the size a multiple of 2 MiB"
	}
	return "", ""
}

// create makes the file: new, empty, of full size, readable by its owner
// only. An existing file is never touched.
func (r *ramFile) create(o *owner) error {
	file, err := os.OpenFile(r.path, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("create the RAM file of %s: %w", r.id, err)
	}
	r.file = file
	if err := r.prepare(o); err != nil {
		return errors.Join(fmt.Errorf("prepare the RAM file %s: %w", r.path, err), r.remove(), r.close())
	}
	return nil
}

func (r *ramFile) prepare(o *owner) error {
	status, err := r.stat()
	if err != nil {
		return err
	}
	r.device, r.inode = status.Dev, status.Ino
	if o != nil {
		if err := r.file.Chown(o.uid, o.gid); err != nil {
			return err
		}
	}
	return r.file.Truncate(int64(r.size))
}

func (r *ramFile) stat() (unix.Stat_t, error) {
	var status unix.Stat_t
	if r.file == nil {
		return status, os.ErrClosed
	}
	if err := unix.Fstat(int(r.file.Fd()), &status); err != nil {
		return status, fmt.Errorf("look at %s: %w", r.path, err)
	}
	return status, nil
}

// untouched returns an error unless no page of the file is allocated.
func (r *ramFile) untouched() error {
	status, err := r.stat()
	if err != nil {
		return err
	}
	if status.Blocks != 0 {
		return fmt.Errorf("%d KiB of the RAM of %s were touched before the guest's memory arrived: remove what preallocates, locks or loads into guest RAM at the start", status.Blocks/2, r.id)
	}
	return nil
}

// remove unlinks the file if its name still leads to it. A missing name is
// fine.
func (r *ramFile) remove() error {
	var status unix.Stat_t
	err := unix.Lstat(r.path, &status)
	if errors.Is(err, unix.ENOENT) || err == nil && (status.Dev != r.device || status.Ino != r.inode) {
		return nil
	}
	if err == nil {
		err = unix.Unlink(r.path)
	}
	if err != nil {
		return fmt.Errorf("remove the RAM file %s: %w", r.path, err)
	}
	return nil
}

func (r *ramFile) close() error {
	if r.file == nil {
		return nil
	}
	err := r.file.Close()
	r.file = nil
	return err
}
