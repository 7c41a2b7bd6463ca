package microvm

import (
	"io"
	"strconv"
	"time"
)

// beats writes the heartbeat: a line "SEQUENCE OPS CLOCK WORST" in hexadecimal,
// times in microseconds, at most every millisecond and only behind a page
// operation. A reader that is slow slows the guest down, as a serial port does.
type beats struct {
	serial   io.Writer
	began    time.Time     // of this run of the vCPU
	clock    time.Duration // of the guest at began
	sequence uint64
	worst    time.Duration // longest operation since the last beat
	last     time.Time     // of the last beat
	line     []byte
}

// done notes an operation that has just ended.
func (b *beats) done(ops uint64, took time.Duration, now time.Time) {
	b.worst = max(b.worst, took)
	if now.Sub(b.last) < beatInterval || b.serial == nil {
		return
	}
	b.sequence++
	b.line = b.line[:0]
	for i, n := range []uint64{b.sequence, ops, microseconds(b.clock + now.Sub(b.began)), microseconds(b.worst)} {
		if i > 0 {
			b.line = append(b.line, ' ')
		}
		b.line = strconv.AppendUint(b.line, n, 16)
	}
	b.line = append(b.line, '\n')
	if _, err := b.serial.Write(b.line); err != nil {
		b.serial = nil // nobody listens any more
	}
	b.last, b.worst = now, 0
}

func microseconds(d time.Duration) uint64 { return uint64(max(d.Microseconds(), 0)) }
