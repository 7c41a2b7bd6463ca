package pagecache

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/zeebo/blake3"
	"golang.org/x/sys/unix"
)

const (
	indexSuffix = ".index"
	newPattern  = ".new-*" // of files that are not complete
)

// Catalog is the indexes of images of one trust domain: one immutable file for
// each image, in DIR/FINGERPRINT/images. It keeps nothing in memory, and any
// number of processes may use it. [OpenImages] is for those who want pages.
type Catalog struct {
	dir      string
	key      Key
	indexKey Key
}

// NewCatalog returns the catalog in a cache's directory, which need not exist
// yet.
func NewCatalog(dir string, key Key) *Catalog {
	return &Catalog{dir: filepath.Join(dir, key.Fingerprint(), "images"), key: key, indexKey: key.indexKey()}
}

// Dir returns where the indexes are.
func (c *Catalog) Dir() string { return c.dir }

// indexPath returns where the index of an image is.
func (c *Catalog) indexPath(path string) string {
	sum := blake3.Sum256([]byte(path))
	return filepath.Join(c.dir, hex.EncodeToString(sum[:16])+indexSuffix)
}

// List returns the images that are indexed, by path, and what is wrong with
// indexes that were left out. Only the beginning of each index is read.
func (c *Catalog) List() (images []Image, wrong []error, err error) {
	entries, err := os.ReadDir(c.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	} else if err != nil {
		return nil, nil, fmt.Errorf("list the images: %w", err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), indexSuffix) {
			continue
		}
		in, err := c.openIndex(filepath.Join(c.dir, e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		} else if err != nil {
			wrong = append(wrong, err)
			continue
		}
		images = append(images, in.Image)
		in.close()
	}
	slices.SortFunc(images, func(a, b Image) int { return strings.Compare(a.Path, b.Path) })
	return images, wrong, nil
}

// Find returns an image that is indexed. The error wraps ErrNoImage if it is
// not, and ErrImageIndex if its index cannot be used.
func (c *Catalog) Find(path string) (Image, error) {
	in, err := c.openImage(path)
	if err != nil {
		return Image{}, err
	}
	in.close()
	return in.Image, nil
}

// Current reports whether an image is indexed, and its file is as it was.
func (c *Catalog) Current(path string) (Image, bool) {
	path, err := filepath.Abs(path)
	if err != nil {
		return Image{}, false
	}
	m, err := c.Find(path)
	return m, err == nil && m.State() == ImageUnchanged
}

// Remove forgets an image; its file stays as it is. The error wraps ErrNoImage
// if it was not there. An index that is damaged is removed, too.
func (c *Catalog) Remove(path string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("find %s: %w", path, err)
	}
	err = os.Remove(c.indexPath(path))
	if errors.Is(err, fs.ErrNotExist) {
		return noImage(path)
	} else if err != nil {
		return fmt.Errorf("remove the index of %s: %w", path, err)
	}
	return nil
}

func noImage(path string) error {
	return &ImageError{Path: path, kind: ErrNoImage, text: "no such image in the cache", hint: "`lazymig cache list` names them"}
}

// index is an open index whose header was checked.
type index struct {
	Image
	file *os.File
	sum  [DigestSize]byte
}

func (in *index) close() { in.file.Close() }

// openImage opens the index of an image.
func (c *Catalog) openImage(path string) (*index, error) {
	in, err := c.openIndex(c.indexPath(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, noImage(path)
	}
	return in, err
}

// openIndex opens an index and reads its header. The reader stands behind it.
func (c *Catalog) openIndex(path string) (in *index, err error) {
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("open an index: %w", err)
	}
	defer func() {
		if err != nil {
			file.Close()
		}
	}()
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("look at an index: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, badIndex(path, errors.New("it is no file"))
	}
	m, sum, err := readHeader(file, info.Size(), c.indexKey)
	if err == nil && c.indexPath(m.Path) != path {
		err = fmt.Errorf("it is the index of %s under another name", m.Path)
	}
	if err != nil {
		return nil, badIndex(path, err)
	}
	return &index{Image: m, file: file, sum: sum}, nil
}

// load reads the entries.
func (in *index) load(key Key) (*table, error) {
	t, err := readEntries(in.entries(), in.Image, in.sum, key)
	if err != nil {
		return nil, &ImageError{
			Path: in.Path, kind: ErrImageIndex, text: "its index cannot be used: " + err.Error(),
			hint: "make it anew: lazymig cache add --again " + in.Path,
		}
	}
	return t, nil
}

// entries returns the part of the file that has them.
func (in *index) entries() io.Reader {
	return io.NewSectionReader(in.file, int64(headerLength(in.Image)), int64(in.Blocks)*entrySize)
}

func badIndex(path string, err error) error {
	return &ImageError{
		Path: path, kind: ErrImageIndex, text: "this index cannot be used: " + err.Error(),
		hint: "remove the file, and run lazymig cache add for its image",
	}
}
