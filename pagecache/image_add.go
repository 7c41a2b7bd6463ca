package pagecache

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/zeebo/blake3"
	"golang.org/x/sys/unix"
)

// errTooMany ends a scan.
var errTooMany = fmt.Errorf("the images have more than %d different blocks", maxEntries)

// AddConfig says how an image is added.
type AddConfig struct {
	// Path is the image's file, or a block device.
	Path string
	// Format is how it is laid out. The default is to look at its beginning.
	Format Format
	// Progress is called by Add's goroutine with the bytes that were read, of
	// about so many. The default is nobody.
	Progress func(done, total int64)
}

// Add indexes an image, or indexes it again. It reads all of its data on all
// processors, in memory that does not depend on its size, and writes nothing
// but the index, which is there when Add returns, or not at all. Of an image
// that is written to meanwhile it indexes what it has read.
//
// The error wraps ErrImage, ErrImagesBusy or ErrImagesFull.
func (c *Catalog) Add(ctx context.Context, a AddConfig) (Image, error) {
	path, err := filepath.Abs(a.Path)
	if err != nil {
		return Image{}, fmt.Errorf("find %s: %w", a.Path, err)
	}
	if len(path) > maxPath {
		return Image{}, refuse(path[:60]+"…", "", "its path has %d bytes", len(path))
	}
	file, m, err := openImage(path)
	if err != nil {
		return Image{}, err
	}
	defer file.Close()
	if m.Format, err = formatOf(file, a.Format); err != nil {
		return Image{}, err
	}
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return Image{}, fmt.Errorf("create the cache: %w", err)
	}
	unlock, err := c.lock()
	if err != nil {
		return Image{}, err
	}
	defer unlock()
	room, err := c.room(path)
	if err != nil {
		return Image{}, err
	}
	b := &builder{catalog: c, file: file, image: m, room: room, progress: a.Progress, spool: spool{dir: c.dir}}
	defer b.spool.close()
	if err := b.build(ctx); errors.Is(err, errTooMany) {
		return Image{}, imagesFull(path)
	} else if err != nil {
		return Image{}, fmt.Errorf("index %s: %w", path, err)
	}
	return b.image, nil
}

func formatOf(file *os.File, format Format) (Format, error) {
	switch format {
	case RawFormat, QCOW2Format:
		return format, nil
	case AutoFormat:
	default:
		return "", refuse(file.Name(), "use raw or qcow2", "format %q is not known", format)
	}
	qcow2, err := looksLikeQCOW2(file)
	if err != nil || !qcow2 {
		return RawFormat, err
	}
	return QCOW2Format, nil
}

// lock keeps others from adding, and removes what was left by one who died.
func (c *Catalog) lock() (unlock func(), err error) {
	dir, err := os.Open(c.dir)
	if err != nil {
		return nil, fmt.Errorf("open the cache: %w", err)
	}
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		dir.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, &ImageError{Path: c.dir, kind: ErrImagesBusy, text: ErrImagesBusy.Error(), hint: "wait until it is done"}
		}
		return nil, fmt.Errorf("lock the cache: %w", err)
	}
	left, _ := filepath.Glob(filepath.Join(c.dir, newPattern)) // the pattern is well formed
	for _, name := range left {
		if err := os.Remove(name); err != nil {
			dir.Close()
			return nil, fmt.Errorf("remove what was left in the cache: %w", err)
		}
	}
	return func() { dir.Close() }, nil
}

// room returns how many blocks an image may have beside the others.
func (c *Catalog) room(path string) (uint64, error) {
	images, _, err := c.List()
	if err != nil {
		return 0, err
	}
	others, blocks := 0, uint64(0)
	for _, m := range images {
		if m.Path != path {
			others++
			blocks += m.Blocks
		}
	}
	if others >= maxImages || blocks >= maxEntries {
		return 0, imagesFull(path)
	}
	return maxEntries - blocks, nil
}

func imagesFull(path string) error {
	return &ImageError{
		Path: path, kind: ErrImagesFull,
		text: fmt.Sprintf("there is no room for it: a cache has at most %d images with %d different blocks", maxImages, maxEntries),
		hint: "remove others with `lazymig cache rm`",
	}
}

// builder makes one index.
type builder struct {
	catalog  *Catalog
	file     *os.File
	image    Image
	room     uint64 // entries that it may have
	progress func(done, total int64)
	runs     []*run
	spool    spool
}

func (b *builder) build(ctx context.Context) error {
	l, compressed := rawLayout(b.file, b.image.Size), func() uint64 { return 0 }
	if b.image.Format == QCOW2Format {
		h, err := readQCOW2Header(b.file, b.image.Path, b.image.Size)
		if err != nil {
			return err
		}
		b.image.Backing, b.image.Snapshots = h.backing, h.snapshots
		q := newQCOW2Image(h, b.file, b.image.Path, b.image.Size)
		l, compressed = q.layout, func() uint64 { return q.compressed }
	}
	for range scanners() {
		b.runs = append(b.runs, &run{spool: &b.spool})
	}
	s := &scan{
		file: b.file, key: b.catalog.key, progress: b.progress, total: dataBytes(b.file, b.image.Size),
		visitor: func(worker int) visitor { return b.runs[worker].add },
	}
	if err := s.run(ctx, l); err != nil {
		return err
	}
	b.image.Zero, b.image.Unreadable, b.image.Compressed = s.counts.zero, s.counts.unreadable, compressed()
	return b.publish(ctx)
}

// publish writes the index to a temporary name and renames it.
func (b *builder) publish(ctx context.Context) error {
	out, err := os.CreateTemp(b.catalog.dir, newPattern)
	if err != nil {
		return fmt.Errorf("create the index: %w", err)
	}
	defer os.Remove(out.Name()) // it is not there any more, or of no use
	defer out.Close()
	if err := b.write(ctx, out); err != nil {
		return err
	}
	if err := out.Sync(); err != nil {
		return fmt.Errorf("write the index: %w", err)
	}
	info, err := out.Stat()
	if err != nil {
		return fmt.Errorf("look at the index: %w", err)
	}
	b.image.IndexBytes = info.Size()
	if err := os.Rename(out.Name(), b.catalog.indexPath(b.image.Path)); err != nil {
		return fmt.Errorf("put the index in its place: %w", err)
	}
	return nil
}

// write writes the entries, and before them, when they are known, the header.
func (b *builder) write(ctx context.Context, file *os.File) error {
	start := int64(headerLength(b.image))
	if _, err := file.Seek(start, 0); err != nil {
		return fmt.Errorf("write the index: %w", err)
	}
	hasher, err := blake3.NewKeyed(b.catalog.indexKey[:])
	if err != nil {
		return fmt.Errorf("create index hasher: %w", err)
	}
	out, raw := bufio.NewWriterSize(file, scanBytes), make([]byte, 0, entrySize)
	b.image.Duplicates, err = merge(b.runs, &b.spool, func(e entry) error {
		if b.image.Blocks++; b.image.Blocks > b.room {
			return errTooMany
		}
		if b.image.Blocks%runEntries == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		raw = e.append(raw[:0])
		_, _ = hasher.Write(raw) // a hash never fails to take bytes
		_, err := out.Write(raw)
		return err //nolint:wrapcheck // told below
	})
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		return fmt.Errorf("write the index: %w", err)
	}
	b.image.Added = time.Now()
	header, err := encodeHeader(b.image, [DigestSize]byte(hasher.Sum(nil)), b.catalog.indexKey)
	if err != nil {
		return err
	}
	if _, err := file.WriteAt(header, 0); err != nil {
		return fmt.Errorf("write the index: %w", err)
	}
	return nil
}
