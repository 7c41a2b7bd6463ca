package pagecache

import (
	"bufio"
	"bytes"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/lazymig/lazymig"
	"github.com/zeebo/blake3"
)

// An index is a header and then its entries, in the order of their digests,
// none twice. Integers are little-endian.
//
//	 0  magic             8 bytes
//	 8  version           u32
//	12  header length     u32, with the sum
//	16  entries           u64
//	24  sum of entries    32 bytes, keyed BLAKE3
//	56  format            u32, 0 raw, 1 qcow2
//	60  snapshots         u32
//	64  size              i64, of the image
//	72  modified          i64, in ns since 1970
//	80  inode             u64
//	88  device            u64
//	96  added             i64, in ns since 1970
//	104 zero, duplicates, compressed, unreadable   4 × u64
//	136 length of path    u32
//	140 length of backing u32
//	144 path, backing
//	    sum of all before 32 bytes, keyed BLAKE3
//
// An entry is a digest, 32 bytes, and the number of a block in the image, u32.
const (
	indexMagic   = "lazyimg\x00"
	indexVersion = 1
	fixedHeader  = 144
	minHeader    = fixedHeader + DigestSize
	maxHeader    = minHeader + maxPath + maxBacking
	entrySize    = DigestSize + 4
)

// entry is one block of an image.
type entry struct {
	digest Digest
	block  uint32
}

func (e entry) compare(o entry) int {
	a, b := binary.BigEndian.Uint64(e.digest[:]), binary.BigEndian.Uint64(o.digest[:])
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	if c := bytes.Compare(e.digest[8:], o.digest[8:]); c != 0 {
		return c
	}
	return int(int64(e.block) - int64(o.block))
}

func (e entry) append(to []byte) []byte {
	return binary.LittleEndian.AppendUint32(append(to, e.digest[:]...), e.block)
}

func parseEntry(from []byte) entry {
	return entry{Digest(from[:DigestSize]), binary.LittleEndian.Uint32(from[DigestSize:entrySize])}
}

var formatCodes = [...]Format{RawFormat, QCOW2Format}

func headerLength(m Image) int { return minHeader + len(m.Path) + len(m.Backing) }

// encodeHeader returns the header of an index with these entries' sum.
func encodeHeader(m Image, sum [DigestSize]byte, key Key) ([]byte, error) {
	var code uint32
	for i, format := range formatCodes {
		if format == m.Format {
			code = uint32(i)
		}
	}
	le := binary.LittleEndian
	h := append(make([]byte, 0, headerLength(m)), indexMagic...)
	h = le.AppendUint32(h, indexVersion)
	h = le.AppendUint32(h, uint32(headerLength(m)))
	h = le.AppendUint64(h, m.Blocks)
	h = append(h, sum[:]...)
	h = le.AppendUint32(h, code)
	h = le.AppendUint32(h, m.Snapshots)
	for _, v := range []uint64{
		uint64(m.Size), uint64(m.Modified.UnixNano()), m.Inode, m.Device, uint64(m.Added.UnixNano()),
		m.Zero, m.Duplicates, m.Compressed, m.Unreadable,
	} {
		h = le.AppendUint64(h, v)
	}
	h = le.AppendUint32(h, uint32(len(m.Path)))
	h = le.AppendUint32(h, uint32(len(m.Backing)))
	h = append(append(h, m.Path...), m.Backing...)
	hasher, err := blake3.NewKeyed(key[:])
	if err != nil {
		return nil, fmt.Errorf("create index hasher: %w", err)
	}
	_, _ = hasher.Write(h) // a hash never fails to take bytes
	return hasher.Sum(h), nil
}

// readHeader reads the header of an index whose file has that many bytes, and
// checks all of it.
func readHeader(r io.Reader, fileSize int64, key Key) (m Image, sum [DigestSize]byte, err error) {
	h := make([]byte, minHeader, maxHeader)
	if _, err := io.ReadFull(r, h); err != nil {
		return m, sum, cutShort(err)
	}
	le := binary.LittleEndian
	length, version := le.Uint32(h[12:]), le.Uint32(h[8:])
	switch {
	case string(h[:8]) != indexMagic:
		return m, sum, errors.New("it does not begin like an index")
	case version != indexVersion:
		return m, sum, fmt.Errorf("version %d, want %d", version, indexVersion)
	case length < minHeader || length > maxHeader:
		return m, sum, fmt.Errorf("a header of %d bytes", length)
	}
	h = h[:length]
	if _, err := io.ReadFull(r, h[minHeader:]); err != nil {
		return m, sum, cutShort(err)
	}
	body := h[:length-DigestSize]
	if err := checkSum(body, h[length-DigestSize:], key); err != nil {
		return m, sum, err
	}
	m, err = parseHeader(body)
	m.IndexBytes = fileSize
	if err == nil && fileSize != int64(length)+int64(m.Blocks)*entrySize {
		err = fmt.Errorf("%d bytes for %d entries", fileSize, m.Blocks)
	}
	return m, [DigestSize]byte(h[24:]), err
}

func cutShort(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("it is cut short")
	}
	return err
}

// checkSum checks a header as a whole, so that what others wrote, or another
// domain did, is not looked at.
func checkSum(body, want []byte, key Key) error {
	hasher, err := blake3.NewKeyed(key[:])
	if err != nil {
		return fmt.Errorf("create index hasher: %w", err)
	}
	_, _ = hasher.Write(body) // a hash never fails to take bytes
	if subtle.ConstantTimeCompare(hasher.Sum(nil), want) != 1 {
		return errors.New("the header is damaged, or of another trust domain")
	}
	return nil
}

// parseHeader checks the fields of a header without its sum.
func parseHeader(h []byte) (m Image, err error) {
	le := binary.LittleEndian
	code, path, backing := le.Uint32(h[56:]), le.Uint32(h[136:]), le.Uint32(h[140:])
	m = Image{
		Blocks: le.Uint64(h[16:]), Snapshots: le.Uint32(h[60:]),
		Size: int64(le.Uint64(h[64:])), Modified: time.Unix(0, int64(le.Uint64(h[72:]))),
		Inode: le.Uint64(h[80:]), Device: le.Uint64(h[88:]), Added: time.Unix(0, int64(le.Uint64(h[96:]))),
		Zero: le.Uint64(h[104:]), Duplicates: le.Uint64(h[112:]), Compressed: le.Uint64(h[120:]), Unreadable: le.Uint64(h[128:]),
	}
	switch {
	case code >= uint32(len(formatCodes)):
		return m, fmt.Errorf("format %d", code)
	case m.Blocks > maxEntries:
		return m, fmt.Errorf("%d entries", m.Blocks)
	case m.Size < 0 || m.Size > maxImageBytes:
		return m, fmt.Errorf("an image of %d bytes", m.Size)
	case path == 0 || path > maxPath || backing > maxBacking || int(path+backing) != len(h)-fixedHeader:
		return m, errors.New("its names do not fit")
	}
	m.Format = formatCodes[code]
	m.Path, m.Backing = string(h[fixedHeader:][:path]), string(h[fixedHeader+path:])
	return m, nil
}

// readEntries reads what follows the header, and checks all of it before
// anything is used.
func readEntries(r io.Reader, m Image, sum [DigestSize]byte, key Key) (*table, error) {
	hasher, err := blake3.NewKeyed(key[:])
	if err != nil {
		return nil, fmt.Errorf("create index hasher: %w", err)
	}
	t, in, last := newTable(m.Blocks), bufio.NewReaderSize(io.TeeReader(r, hasher), scanBytes), entry{}
	for n := range m.Blocks {
		raw, err := in.Peek(entrySize)
		if err != nil {
			return nil, cutShort(err)
		}
		e := parseEntry(raw)
		_, _ = in.Discard(entrySize) // they have been seen
		switch {
		case n > 0 && bytes.Compare(e.digest[:], last.digest[:]) <= 0:
			return nil, fmt.Errorf("entry %d is out of order", n)
		case offsetOf(e.block)+lazymig.PageSize > m.Size:
			return nil, fmt.Errorf("entry %d is beyond the image", n)
		}
		t.add(e.digest[:], e.block)
		last = e
	}
	t.finish()
	if subtle.ConstantTimeCompare(hasher.Sum(nil), sum[:]) != 1 {
		return nil, errors.New("its entries are damaged")
	}
	return t, nil
}
