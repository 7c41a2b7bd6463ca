package failover

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strings"
	"time"

	"github.com/lazymig/lazymig"
)

// Record is one line of a journal: the state that one side has come to.
type Record struct {
	// Time is set by Journal.Append when it is zero. For people only.
	Time  time.Time
	VM    lazymig.VMID
	Epoch lazymig.Epoch
	State State
	// Peer names the other host, at most 128 bytes.
	Peer string
	// WasRunning is false for a guest that was paused before the move.
	WasRunning bool
	// Reason says to people why, at most 320 bytes.
	Reason string
}

// A slot, little-endian:
//
//	 0 magic "LZJ1"        24 VM identity, 16 bytes   52 length of peer, u16
//	 4 CRC32C of 8..511    40 epoch, u64              54 length of reason, u16
//	 8 slot number, u64    48 state, u8               56 peer, then reason
//	16 time, Unix ns, i64  49 flags, u8; 50 zero      rest zero
const (
	slotMagic      = 0x314a5a4c // "LZJ1"
	slotTexts      = 56
	flagWasRunning = 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// bounded returns the record as a slot can hold it.
func (r Record) bounded() Record {
	r.Time = time.Unix(0, r.Time.UnixNano())
	r.Peer = cut(r.Peer, maxPeer)
	r.Reason = cut(r.Reason, maxReason)
	return r
}

// cut shortens s to at most n bytes and drops what is not valid UTF-8.
func cut(s string, n int) string {
	return strings.ToValidUTF8(s[:min(len(s), n)], "")
}

// encode fills the slot with a bounded record.
func (r Record) encode(slot []byte, number int) {
	clear(slot)
	le := binary.LittleEndian
	le.PutUint64(slot[8:], uint64(number))
	le.PutUint64(slot[16:], uint64(r.Time.UnixNano()))
	copy(slot[24:40], r.VM[:])
	le.PutUint64(slot[40:], uint64(r.Epoch))
	slot[48] = uint8(r.State)
	if r.WasRunning {
		slot[49] = flagWasRunning
	}
	le.PutUint16(slot[52:], uint16(len(r.Peer)))
	le.PutUint16(slot[54:], uint16(len(r.Reason)))
	copy(slot[slotTexts:], r.Peer)
	copy(slot[slotTexts+len(r.Peer):], r.Reason)
	seal(slot)
}

// seal writes what says that a slot is whole.
func seal(slot []byte) {
	binary.LittleEndian.PutUint32(slot, slotMagic)
	binary.LittleEndian.PutUint32(slot[4:], crc32.Checksum(slot[8:], castagnoli))
}

// decodeSlot returns ok=false for a slot that holds no whole record. A whole
// record that makes no sense is an error: a newer lazymig may have written it.
func decodeSlot(slot []byte, number int) (r Record, ok bool, err error) {
	le := binary.LittleEndian
	if le.Uint32(slot) != slotMagic || le.Uint32(slot[4:]) != crc32.Checksum(slot[8:], castagnoli) {
		return Record{}, false, nil
	}
	peer, reason := int(le.Uint16(slot[52:])), int(le.Uint16(slot[54:]))
	state := State(slot[48])
	if le.Uint64(slot[8:]) != uint64(number) || state == StateNone || state >= stateCount ||
		peer > maxPeer || reason > maxReason || slot[49] > flagWasRunning {
		return Record{}, false, fmt.Errorf("%w: record %d is none of this version", ErrCorrupt, number)
	}
	texts := slot[slotTexts:]
	r = Record{
		Time:       time.Unix(0, int64(le.Uint64(slot[16:]))),
		VM:         lazymig.VMID(slot[24:40]),
		Epoch:      lazymig.Epoch(le.Uint64(slot[40:])),
		State:      state,
		Peer:       string(texts[:peer]),
		WasRunning: slot[49] == flagWasRunning,
		Reason:     string(texts[peer : peer+reason]),
	}
	return r, true, nil
}

// encodeImage returns the content of a whole journal file. Its free slots are
// written as zeros: appending then changes neither the file's size nor its
// blocks, needs no space, and one fdatasync forces nothing but the record.
func encodeImage(records []Record) []byte {
	image := make([]byte, journalSlots*slotSize)
	for i, r := range records {
		r.encode(image[i*slotSize:(i+1)*slotSize], i)
	}
	return image
}

// decodeImage returns the whole records of a journal file in order. Slots that
// do not check are left out: an unforced record was lost or torn when the host
// went down, and each record stands for itself.
func decodeImage(image []byte) ([]Record, error) {
	if len(image) > journalSlots*slotSize {
		return nil, fmt.Errorf("%w: it is longer than %d bytes", ErrCorrupt, journalSlots*slotSize)
	}
	var records []Record
	for i := range len(image) / slotSize {
		r, ok, err := decodeSlot(image[i*slotSize:(i+1)*slotSize], i)
		if err != nil {
			return nil, err
		}
		if ok {
			records = append(records, r)
		}
	}
	if len(records) == 0 {
		return nil, fmt.Errorf("%w: it has no whole record", ErrCorrupt)
	}
	return records, nil
}
