package migrate

import (
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"sync"

	"github.com/zeebo/blake3"

	"github.com/lazymig/lazymig/internal/wire"
	"github.com/lazymig/lazymig/pagecache"
)

// ErrDeviceState is returned when the device state did not arrive as it was
// sent, or is larger than any machine's.
var ErrDeviceState = errors.New("device state is not usable")

// deviceSender sends the device state as frames while QEMU writes it.
type deviceSender struct {
	control *control
	keep    io.Writer
	digest  hash.Hash
	length  uint64
}

func newDeviceSender(c *control, keep io.Writer, key pagecache.Key) (*deviceSender, error) {
	digest, err := blake3.NewKeyed(key[:])
	if err != nil {
		return nil, fmt.Errorf("create device state digest: %w", err)
	}
	return &deviceSender{control: c, keep: keep, digest: digest}, nil
}

// Write sends b in frames of deviceChunk bytes and keeps a copy.
func (d *deviceSender) Write(b []byte) (int, error) {
	sent := 0
	for sent < len(b) {
		chunk := b[sent:min(len(b), sent+deviceChunk)]
		if d.length += uint64(len(chunk)); d.length > maxDeviceState {
			return sent, fmt.Errorf("%w: more than %d bytes", ErrDeviceState, maxDeviceState)
		}
		if err := d.control.send(wire.DeviceState{Data: chunk}); err != nil {
			return sent, err
		}
		_, _ = d.digest.Write(chunk) // a hash never fails to take bytes
		if _, err := d.keep.Write(chunk); err != nil {
			return sent, fmt.Errorf("keep device state: %w", err)
		}
		sent += len(chunk)
	}
	return sent, nil
}

// Close tells the destination that this was all.
func (d *deviceSender) Close() error { return d.control.send(d.end()) }

func (d *deviceSender) end() wire.DeviceEnd {
	return wire.DeviceEnd{Bytes: d.length, Digest: [32]byte(d.digest.Sum(nil))}
}

// deviceReceiver keeps the device state in a file and feeds the VMM from
// there, so that a VMM that waits for a page never stops the control stream.
// The session loop writes; one goroutine of its own feeds.
type deviceReceiver struct {
	file   *os.File
	digest hash.Hash
	wait   sync.WaitGroup

	mu      sync.Mutex // protects the fields below; a leaf
	length  uint64
	ended   bool
	changed chan struct{}
}

// startDeviceReceiver creates the file at path and starts feeding out, which
// is closed at the end.
func startDeviceReceiver(path string, key pagecache.Key, out io.WriteCloser) (*deviceReceiver, error) {
	digest, err := blake3.NewKeyed(key[:])
	if err != nil {
		return nil, fmt.Errorf("create device state digest: %w", err)
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("keep device state: %w", err)
	}
	d := &deviceReceiver{file: file, digest: digest, changed: make(chan struct{}, 1)}
	d.wait.Go(func() { d.serve(out) })
	return d, nil
}

// write takes the next piece.
func (d *deviceReceiver) write(b []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ended || d.length+uint64(len(b)) > maxDeviceState {
		return fmt.Errorf("%w: %d bytes, and more", ErrDeviceState, d.length)
	}
	if _, err := d.file.WriteAt(b, int64(d.length)); err != nil {
		return fmt.Errorf("keep device state: %w", err)
	}
	_, _ = d.digest.Write(b) // a hash never fails to take bytes
	d.length += uint64(len(b))
	d.notifyLocked()
	return nil
}

// end checks the whole state against what the source says of it.
func (d *deviceReceiver) end(frame wire.DeviceEnd) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ended || frame.Bytes != d.length || frame.Digest != [32]byte(d.digest.Sum(nil)) {
		return fmt.Errorf("%w: it does not have the digest that came with it", ErrDeviceState)
	}
	d.ended = true
	d.notifyLocked()
	return nil
}

func (d *deviceReceiver) notifyLocked() {
	select {
	case d.changed <- struct{}{}:
	default:
	}
}

// stop gives up a state that is not whole and waits for the feeder, which a
// VMM that is gone or has closed its end does not hold.
func (d *deviceReceiver) stop() error {
	d.mu.Lock()
	d.ended = true
	d.notifyLocked()
	d.mu.Unlock()
	d.wait.Wait()
	return d.file.Close()
}

// sync makes the kept state durable.
func (d *deviceReceiver) sync() error { return d.file.Sync() }

// serve feeds the VMM. An error of its end shows as a failed load.
func (d *deviceReceiver) serve(out io.WriteCloser) {
	defer out.Close()
	var fed uint64
	for range d.changed {
		d.mu.Lock()
		length, ended := d.length, d.ended
		d.mu.Unlock()
		part := io.NewSectionReader(d.file, int64(fed), int64(length-fed))
		if _, err := io.Copy(out, part); err != nil || ended {
			return
		}
		fed = length
	}
}
