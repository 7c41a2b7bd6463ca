package vm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/lazymig/lazymig/bench/leftover"
)

// CreateDisk makes an empty raw disk image and returns its path; remove takes
// it away. It is in the temporary folder, whose file system must know O_DIRECT.
func CreateDisk(mib int) (path string, remove func() error, err error) {
	path = filepath.Join(os.TempDir(), leftover.Name("disk"))
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o644)
	if err != nil {
		return "", nil, fmt.Errorf("create a disk: %w", err)
	}
	remove = func() error { return os.Remove(path) }
	if err := errors.Join(f.Truncate(int64(mib)<<20), f.Close()); err != nil {
		return "", nil, errors.Join(fmt.Errorf("size the disk: %w", err), remove())
	}
	return path, remove, nil
}
