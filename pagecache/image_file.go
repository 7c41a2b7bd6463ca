package pagecache

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// openImage opens what may be an image: a regular file or a block device.
// Anything else is not even opened, since that could wait, or do something.
func openImage(path string) (*os.File, Image, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, Image{}, openFailed(path, err)
	}
	if err := checkKind(path, info); err != nil {
		return nil, Image{}, err
	}
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, Image{}, openFailed(path, err)
	}
	m, err := describe(path, file)
	if err != nil {
		file.Close()
		return nil, Image{}, err
	}
	return file, m, nil
}

func openFailed(path string, err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		err = p.Err // the path is told once
	}
	return fmt.Errorf("open %s: %w", path, err)
}

func checkKind(path string, info fs.FileInfo) error {
	switch mode := info.Mode(); {
	case mode.IsRegular(), mode&fs.ModeDevice != 0 && mode&fs.ModeCharDevice == 0:
		return nil
	case mode.IsDir():
		return refuse(path, "name the images in it", "it is a directory")
	default:
		return refuse(path, "", "it is neither a file nor a block device")
	}
}

// describe tells of an open file what its inode knows. What is modified while
// it is read counts as modified afterwards.
func describe(path string, file *os.File) (Image, error) {
	info, err := file.Stat()
	if err != nil {
		return Image{}, fmt.Errorf("look at the image: %w", err)
	}
	if err := checkKind(path, info); err != nil {
		return Image{}, err
	}
	m := Image{Path: path, Size: info.Size(), Modified: info.ModTime()}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		m.Inode, m.Device = stat.Ino, stat.Dev
	}
	if !info.Mode().IsRegular() {
		if m.Size, err = file.Seek(0, io.SeekEnd); err != nil {
			return Image{}, fmt.Errorf("find the size of %s: %w", path, err)
		}
		m.Modified = time.Unix(0, 0) // a device does not tell
	}
	if m.Size > maxImageBytes {
		return Image{}, refuse(path, "", "it has %d bytes, at most %d can be indexed", m.Size, int64(maxImageBytes))
	}
	return m, nil
}

// imageFile is the file of an image that is used. It is opened when it is
// first needed, and again after an error that may have been the descriptor's:
// a file on shared storage that was replaced, say. Any goroutine may use it.
type imageFile struct {
	path string
	file atomic.Pointer[os.File]

	mu     sync.Mutex // protects what follows, and the opening of file
	closed bool
	tried  time.Time // when it could not be opened
	// old are files that gave errors. They stay open, since a Peek may use their
	// descriptors still.
	old []*os.File
}

// readAt fills the page and reports whether it could.
func (f *imageFile) readAt(page []byte, offset int64) bool {
	file := f.file.Load()
	if file == nil {
		if file = f.open(); file == nil {
			return false
		}
	}
	n, err := file.ReadAt(page, offset)
	if n == len(page) {
		return true
	}
	if !errors.Is(err, io.EOF) && !errors.Is(err, unix.EIO) {
		f.retire(file)
	}
	return false
}

// retire has the file opened anew the next time, a few times.
func (f *imageFile) retire(file *os.File) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.old) < maxReopens && f.file.CompareAndSwap(file, nil) {
		f.old = append(f.old, file)
	}
}

// open returns the open file, or nil.
func (f *imageFile) open() *os.File {
	f.mu.Lock()
	defer f.mu.Unlock()
	if file := f.file.Load(); file != nil {
		return file
	}
	if f.closed || time.Since(f.tried) < reopenPause {
		return nil
	}
	file, _, err := openImage(f.path)
	if err != nil {
		f.tried = time.Now()
		return nil
	}
	f.file.Store(file)
	return file
}

func (f *imageFile) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	if file := f.file.Swap(nil); file != nil {
		file.Close()
	}
	for _, file := range f.old {
		file.Close()
	}
}
