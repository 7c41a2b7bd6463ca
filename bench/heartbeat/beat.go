package heartbeat

import (
	"bytes"
	"fmt"
	"strconv"
	"time"
)

// maxLine bounds a line in bytes: four 64-bit numbers have 68.
const maxLine = 80

// Beat is one line of the guest.
type Beat struct {
	// Stream is the position of the stream that brought the line, or its end.
	Stream int
	// Sequence counts the beats from 1, Ops the page operations.
	Sequence, Ops uint64
	// Clock is the guest's monotonic clock, in steps of 1 µs.
	Clock time.Duration
	// Worst is the longest page operation since the beat before.
	Worst time.Duration
	// Received is when the end of the line arrived.
	Received time.Time
}

// parse reads "SEQUENCE OPS CLOCK WORST" in hexadecimal, without a newline.
func parse(line []byte) (Beat, error) {
	fields := bytes.Split(line, []byte(" "))
	if len(fields) != 4 {
		return Beat{}, fmt.Errorf("parse beat %q: %d fields", line, len(fields))
	}
	var n [4]uint64
	for i, f := range fields {
		var err error
		if n[i], err = strconv.ParseUint(string(f), 16, 63); err != nil {
			return Beat{}, fmt.Errorf("parse beat %q: %w", line, err)
		}
	}
	return Beat{
		Sequence: n[0], Ops: n[1],
		Clock: time.Duration(n[2]) * time.Microsecond,
		Worst: time.Duration(n[3]) * time.Microsecond,
	}, nil
}
