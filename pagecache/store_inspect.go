package pagecache

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/lazymig/lazymig"
)

// Usage is what the store in a directory holds, as its files say.
type Usage struct {
	// Pages are in the index, of at most Slots. Both are 0 without a store.
	Pages uint64 `json:"pages"`
	Slots uint64 `json:"slots"`
	// Bytes is the room that the files take on the disk.
	Bytes uint64 `json:"bytes"`
	// Locked says that a process has the directory open; PID is its number, or
	// 0 if that is unknown.
	Locked bool `json:"locked"`
	PID    int  `json:"pid,omitempty"`
}

// Inspect tells what a directory holds for a key, whoever has it open. It
// changes nothing, and takes no lock.
func Inspect(dir string, key Key) (u Usage, err error) {
	if u.Locked, u.PID, err = holder(filepath.Join(dir, lockName)); err != nil {
		return u, fmt.Errorf("inspect cache directory: %w", err)
	}
	of := newFingerprint(key)
	domain := filepath.Join(dir, hex.EncodeToString(of[:]))
	index, err := os.OpenFile(filepath.Join(domain, indexName), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return u, nil
	} else if err != nil {
		return u, fmt.Errorf("inspect page cache: %w", err)
	}
	defer index.Close()
	var arenaStat, indexStat unix.Stat_t
	if err := unix.Fstat(int(index.Fd()), &indexStat); err != nil {
		return u, fmt.Errorf("inspect page cache: %w", os.NewSyscallError("fstat", err))
	}
	// Without an arena the pages are lost, which is no error.
	_ = unix.Lstat(filepath.Join(domain, arenaName), &arenaStat)
	u.Bytes = uint64(indexStat.Blocks+arenaStat.Blocks) * statBlock
	if slots, ok := readIndexHeader(index, of); ok {
		u.Slots = slots
		u.Pages = countRecords(index, min(u.Slots, uint64(arenaStat.Size)/lazymig.PageSize))
	}
	return u, nil
}

// countRecords counts the whole records of the first slots of an index.
func countRecords(index io.ReaderAt, slots uint64) (n uint64) {
	block := make([]byte, min(blockRecords, slots)*recordSize)
	for from := uint64(0); from < slots; from += blockRecords {
		// What cannot be read is a miss, so it does not count.
		read, _ := index.ReadAt(block, recordOffset(from))
		for i := range min(blockRecords, slots-from, uint64(read/recordSize)) {
			if _, ok := parseRecord(block[i*recordSize:], from+i); ok {
				n++
			}
		}
	}
	return n
}

// holder tells which process holds a lock file, without touching the lock.
func holder(path string) (locked bool, pid int, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, 0, nil
	} else if err != nil {
		return false, 0, err
	}
	defer f.Close()
	ask := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &ask); err != nil {
		return false, 0, os.NewSyscallError("fcntl", err)
	}
	if ask.Type == unix.F_UNLCK {
		return false, 0, nil
	}
	return true, lockHolder(f), nil
}
