package qemu

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
)

// relay hands QEMU's migration stream on as it comes. One goroutine does it.
type relay struct {
	source *os.File
	stream io.Writer
	bytes  atomic.Int64
	ended  chan struct{} // closed when the goroutine has ended
	err    error         // why; nil at the end of the stream. Valid after ended
}

// serve hands the stream on until QEMU closes it. After a failure it closes
// its end, at which QEMU fails the migration and lets the guest run on.
func (r *relay) serve() {
	defer close(r.ended)
	buffer := make([]byte, relayBuffer)
	for r.err == nil {
		n, err := r.source.Read(buffer)
		if n > 0 {
			r.err = r.pass(buffer[:n])
		}
		if errors.Is(err, io.EOF) {
			if r.err == nil {
				r.err = r.end()
			}
			break
		}
		if err != nil && r.err == nil {
			r.err = fmt.Errorf("read the device state from QEMU: %w", err)
		}
	}
	r.close()
}

func (r *relay) pass(p []byte) error {
	if r.bytes.Add(int64(len(p))) > maxStream {
		return fmt.Errorf("relay the device state: %w (more than %d MiB)", ErrStreamTooLong, maxStream>>20)
	}
	if _, err := r.stream.Write(p); err != nil {
		return fmt.Errorf("relay the device state: %w", err)
	}
	return nil
}

// end closes a stream that can be closed: its other end need not wait until
// the VMM's process is stopped, too.
func (r *relay) end() error {
	c, ok := r.stream.(io.Closer)
	if !ok {
		return nil
	}
	if err := c.Close(); err != nil {
		return fmt.Errorf("end the device state: %w", err)
	}
	return nil
}

// close ends the relay; a Write that blocks goes on.
func (r *relay) close() { r.source.Close() }

// newRelay makes a stream, and returns the descriptor that is for QEMU too.
func newRelay(stream io.Writer) (*relay, int, error) {
	ours, theirs, err := streamPair()
	if err != nil {
		return nil, -1, err
	}
	return &relay{source: ours, stream: stream, ended: make(chan struct{})}, theirs, nil
}
