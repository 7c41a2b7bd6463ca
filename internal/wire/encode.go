package wire

import (
	"encoding/binary"

	"github.com/lazymig/lazymig"
)

func appendU16(b []byte, v uint16) []byte { return binary.LittleEndian.AppendUint16(b, v) }
func appendU32(b []byte, v uint32) []byte { return binary.LittleEndian.AppendUint32(b, v) }
func appendU64(b []byte, v uint64) []byte { return binary.LittleEndian.AppendUint64(b, v) }

func appendFlag(b []byte, set bool) []byte {
	if set {
		return append(b, 1)
	}
	return append(b, 0)
}

// appendEpoch appends a whole frame that carries an epoch only.
func appendEpoch(b []byte, t Type, e lazymig.Epoch) []byte {
	return appendU64(appendHeader(b, t, 8), uint64(e))
}

// appendReason appends a whole frame of an epoch and a text.
func appendReason(b []byte, t Type, e lazymig.Epoch, reason string) []byte {
	reason = CleanText(reason, MaxText)
	b = appendU64(appendHeader(b, t, 8+len(reason)), uint64(e))
	return append(b, reason...)
}

func appendRuns(b []byte, runs []lazymig.Run) []byte {
	for _, r := range runs {
		b = appendU64(appendU64(b, uint64(r.First)), r.Count)
	}
	return b
}
