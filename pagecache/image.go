package pagecache

import (
	"errors"
	"fmt"
	"time"
)

var (
	// ErrImage is returned for a file that cannot be indexed.
	ErrImage = errors.New("not an image that can be indexed")
	// ErrImageIndex is returned for an index that is damaged or foreign.
	ErrImageIndex = errors.New("not an index of this cache")
	// ErrImagesBusy is returned while somebody else adds an image.
	ErrImagesBusy = errors.New("another process adds an image")
	// ErrImagesFull is returned when the images would be too many.
	ErrImagesFull = errors.New("too many images")
	// ErrNoImage is returned for a path that is not indexed.
	ErrNoImage = errors.New("no such image in the cache")
)

// ImageError is what went wrong with one image.
type ImageError struct {
	Path string // of the image, or of its index
	kind error  // one of the above
	text string
	hint string
}

// Error returns the path and what is wrong.
func (e *ImageError) Error() string { return e.Path + ": " + e.text }

// Unwrap returns what kind of error it is.
func (e *ImageError) Unwrap() error { return e.kind }

// Hint says what to do.
func (e *ImageError) Hint() string { return e.hint }

// refuse returns the error for a file that cannot be indexed.
func refuse(path, hint, format string, args ...any) error {
	return &ImageError{Path: path, kind: ErrImage, text: fmt.Sprintf(format, args...), hint: hint}
}

// Format is how an image's file is laid out.
type Format string

// The formats. AutoFormat is qcow2 if the file begins like one.
const (
	AutoFormat  Format = ""
	RawFormat   Format = "raw"
	QCOW2Format Format = "qcow2"
)

// Image describes an indexed file as it was when it was read.
type Image struct {
	Path   string `json:"path"`
	Format Format `json:"format"`
	// Backing is the backing file that a qcow2 image names. It is not
	// followed.
	Backing string `json:"backing,omitempty"`
	// Snapshots is how many internal snapshots a qcow2 image has. They are not
	// indexed.
	Snapshots uint32 `json:"snapshots,omitempty"`

	Size     int64     `json:"size"`
	Modified time.Time `json:"modified"`
	Inode    uint64    `json:"inode"`
	Device   uint64    `json:"device"`
	Added    time.Time `json:"added"`

	// Blocks are those that are indexed: different from each other, not zero.
	Blocks uint64 `json:"blocks"`
	// Zero are blocks of zeros that were read. Holes are not among them.
	Zero uint64 `json:"zero_blocks"`
	// Duplicates are blocks whose content is indexed at another place.
	Duplicates uint64 `json:"duplicate_blocks"`
	// Compressed are clusters that have no page as it is in memory.
	Compressed uint64 `json:"compressed_clusters"`
	// Unreadable are blocks that the storage did not give.
	Unreadable uint64 `json:"unreadable_blocks"`
	// IndexBytes is the length of the index on disk.
	IndexBytes int64 `json:"index_bytes"`
}

// MemoryBytes is what the image's table takes in memory when it is used.
func (m Image) MemoryBytes() int64 { return tableBytes(m.Blocks) }

// ImageState is what has become of an image's file since it was indexed, as
// far as its inode tells. Every page is checked when it is used, whatever it
// is.
type ImageState string

// What may have become of an image.
const (
	ImageUnchanged ImageState = "unchanged"
	ImageChanged   ImageState = "changed"
	// ImageGone is a file that cannot be opened any more.
	ImageGone ImageState = "gone"
	// ImageUnknown is a block device, which does not tell.
	ImageUnknown ImageState = "unknown"
)

// State looks at the image's file.
func (m Image) State() ImageState {
	file, now, err := openImage(m.Path)
	if err != nil {
		return ImageGone
	}
	file.Close()
	switch {
	case m.Size != now.Size, !m.Modified.Equal(now.Modified), m.Inode != now.Inode, m.Device != now.Device:
		return ImageChanged
	case now.Modified.Unix() == 0:
		return ImageUnknown
	}
	return ImageUnchanged
}
