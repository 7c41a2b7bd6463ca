package pagecache

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
)

// The index file is a header page and then one record for each slot of the
// arena, in order:
//
//	header  magic 8 | fingerprint of the key 16 | slots 8 | CRC-32C of these 4 | zeros
//	record  digest 32 | CRC-32C of slot number and digest 4
//
// A record of zeros is an empty slot. The check finds torn and foreign records;
// whether the page is the right one is found out when it is read.
const (
	headerSize = 4096
	recordSize = DigestSize + 4
	// magic names the version too. Files of another one are made anew.
	magic = "lzmgidx1"
)

// fingerprint names a key without telling anything about it.
type fingerprint [16]byte

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func appendHeader(b []byte, of fingerprint, slots uint64) []byte {
	b = append(b, magic...)
	b = append(b, of[:]...)
	b = binary.LittleEndian.AppendUint64(b, slots)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// readIndexHeader returns the number of slots in the header of an index for
// this key. ok is false if f has none.
func readIndexHeader(f io.ReaderAt, of fingerprint) (slots uint64, ok bool) {
	const at = len(magic) + len(of)
	b := make([]byte, at+8+4)
	if _, err := f.ReadAt(b, 0); err != nil {
		return 0, false
	}
	slots = binary.LittleEndian.Uint64(b[at:])
	return slots, slots >= shardCount && slots <= slotsIn(MaxBytes) && slots%shardCount == 0 &&
		bytes.Equal(b, appendHeader(nil, of, slots))
}

// recordCheck is the check of a record. The slot number goes in first, so that
// a record that landed in another's place fails.
func recordCheck(slot uint64, digest []byte) uint32 {
	return crc32.Update(uint32(slot), castagnoli, digest)
}

// putRecord writes the record of slot into b, of recordSize bytes.
func putRecord(b []byte, slot uint64, d *Digest) {
	copy(b, d[:])
	binary.LittleEndian.PutUint32(b[DigestSize:], recordCheck(slot, b[:DigestSize]))
}

// parseRecord returns the digest in the record of slot. ok is false for an
// empty record and for one that is damaged.
func parseRecord(b []byte, slot uint64) (d Digest, ok bool) {
	if len(b) < recordSize {
		return d, false
	}
	copy(d[:], b)
	if d == (Digest{}) {
		return d, false
	}
	return d, binary.LittleEndian.Uint32(b[DigestSize:]) == recordCheck(slot, d[:])
}

// tag is the part of a digest that is kept in memory and goes into filters.
// Digests are keyed, so nobody can make two with the same tag.
func (d *Digest) tag() uint64 { return binary.LittleEndian.Uint64(d[:]) }
