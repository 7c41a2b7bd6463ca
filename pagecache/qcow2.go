package pagecache

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

const qcow2Magic = "QFI\xfb"

// Incompatible features of a qcow2 image. What is not named here is not known
// and refused.
const (
	qcow2Dirty = 1 << iota // its reference counts, which nobody needs here
	qcow2Corrupt
	qcow2DataFile
	qcow2Compression // another method than deflate
	qcow2ExtendedL2
)

// qcow2Header is what an image's header says that matters here.
type qcow2Header struct {
	clusterBits int
	extended    bool // entries of L2 tables have bitmaps of subclusters
	l1Offset    int64
	l1Entries   uint64
	snapshots   uint32
	backing     string
}

func (h *qcow2Header) clusterSize() int64 { return 1 << h.clusterBits }

// l2Bits returns how many entries an L2 table has, as a power of two.
func (h *qcow2Header) l2Bits() int {
	if h.extended {
		return h.clusterBits - 4
	}
	return h.clusterBits - 3
}

// looksLikeQCOW2 reports whether a file begins like a qcow2 image.
func looksLikeQCOW2(file *os.File) (bool, error) {
	var magic [4]byte
	if _, err := file.ReadAt(magic[:], 0); errors.Is(err, io.EOF) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("read the image's beginning: %w", err)
	}
	return string(magic[:]) == qcow2Magic, nil
}

// readQCOW2Header reads and checks the header of an image of size bytes.
func readQCOW2Header(r io.ReaderAt, path string, size int64) (*qcow2Header, error) {
	var raw [104]byte // version 2 has 72 bytes, and more behind it in any use
	if n, err := r.ReadAt(raw[:], 0); err != nil && (n < 72 || !errors.Is(err, io.EOF)) {
		return nil, refuse(path, "", "its qcow2 header cannot be read: %v", err)
	}
	be := binary.BigEndian
	version, features := be.Uint32(raw[4:]), uint64(0)
	switch {
	case string(raw[:4]) != qcow2Magic:
		return nil, refuse(path, "use --format raw", "it does not begin like a qcow2 image")
	case version != 2 && version != 3:
		return nil, refuse(path, "if it is a raw image that looks like one, use --format raw", "qcow2 version %d is not known", version)
	case version == 3:
		features = be.Uint64(raw[72:])
	}
	if err := checkQCOW2Features(path, features, be.Uint32(raw[32:])); err != nil {
		return nil, err
	}
	h := &qcow2Header{
		extended: features&qcow2ExtendedL2 != 0, snapshots: be.Uint32(raw[60:]),
		l1Offset: int64(be.Uint64(raw[40:])),
	}
	if err := h.setGeometry(path, be.Uint32(raw[20:]), be.Uint64(raw[24:]), be.Uint32(raw[36:]), size); err != nil {
		return nil, err
	}
	return h, h.readBacking(r, path, be.Uint64(raw[8:]), be.Uint32(raw[16:]))
}

// checkQCOW2Features refuses what would make the content of clusters something
// else than pages of the guest.
func checkQCOW2Features(path string, features uint64, encryption uint32) error {
	switch {
	case encryption != 0:
		return refuse(path, "its clusters are of no use to a cache: the guest's pages have other content", "it is encrypted")
	case features&qcow2DataFile != 0:
		return refuse(path, "index the data file itself, with --format raw", "its data is in another file")
	case features&qcow2Corrupt != 0:
		return refuse(path, "run qemu-img check -r all on it, when no guest uses it", "it is marked as corrupt")
	}
	if unknown := features &^ (qcow2Dirty | qcow2Compression | qcow2ExtendedL2); unknown != 0 {
		return refuse(path, "convert it with qemu-img convert", "it has features that are not known, %#x", unknown)
	}
	return nil
}

// setGeometry checks the sizes of a header.
func (h *qcow2Header) setGeometry(path string, clusterBits uint32, virtual uint64, l1Entries uint32, size int64) error {
	if clusterBits < minClusterBits || clusterBits > maxClusterBits {
		return refuse(path, "", "its clusters have 2^%d bytes", clusterBits)
	}
	if clusterBits < pageBits {
		return refuse(path, "convert it with qemu-img convert -O qcow2 -o cluster_size=64k",
			"its clusters of %d bytes are smaller than a page", 1<<clusterBits)
	}
	if h.clusterBits = int(clusterBits); h.extended && clusterBits < 14 {
		return refuse(path, "", "clusters of %d bytes have no subclusters", 1<<clusterBits)
	}
	shift := h.clusterBits + h.l2Bits()
	h.l1Entries = virtual >> shift
	if virtual&(1<<shift-1) != 0 {
		h.l1Entries++
	}
	switch {
	case h.l1Entries > maxL1Entries:
		return refuse(path, "", "a disk of %d bytes is more than such an image can have", virtual)
	case h.l1Entries > uint64(l1Entries):
		return h.damaged(path, "its first table has %d entries, the disk needs %d", l1Entries, h.l1Entries)
	case h.l1Entries > 0 && !h.inside(h.l1Offset, int64(h.l1Entries)*8, size):
		return h.damaged(path, "its first table is at %#x", h.l1Offset)
	}
	return nil
}

// inside reports whether that many bytes at an offset can be a table of an
// image of size bytes.
func (h *qcow2Header) inside(offset, length, size int64) bool {
	return offset >= h.clusterSize() && offset%h.clusterSize() == 0 && length <= size && offset <= size-length
}

func (h *qcow2Header) damaged(path, format string, args ...any) error {
	return refuse(path, "run qemu-img check on it, when no guest uses it", "it is damaged: "+format, args...)
}

// readBacking reads the name of the backing file.
func (h *qcow2Header) readBacking(r io.ReaderAt, path string, offset uint64, length uint32) error {
	if offset == 0 || length == 0 {
		return nil
	}
	if length > maxBacking || offset > uint64(h.clusterSize()) {
		return h.damaged(path, "its backing file's name has %d bytes at %#x", length, offset)
	}
	name := make([]byte, length)
	if _, err := r.ReadAt(name, int64(offset)); err != nil {
		return h.damaged(path, "its backing file's name cannot be read: %v", err)
	}
	h.backing = string(name)
	return nil
}
