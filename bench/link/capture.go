package link

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Capture counts the frames that a guest sends into a device.
type Capture struct {
	file *os.File
	done chan struct{} // closed when serveFrames has ended

	mu    sync.Mutex // guards what follows
	count int
	seen  []string
	err   error
}

// Capture counts frames with the source address mac that come in at a device
// of side. On Tap those are the frames that the guest of this host sends, not
// those that the bridge brings to it.
func (l *Link) Capture(side Side, device string, mac net.HardwareAddr) (*Capture, error) {
	c := &Capture{done: make(chan struct{})}
	if err := l.Inside(side, func() (err error) {
		c.file, err = openPacketSocket(device)
		return err
	}); err != nil {
		return nil, fmt.Errorf("capture frames of %s: %w", device, err)
	}
	raw, err := c.file.SyscallConn()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("capture frames of %s: %w", device, err), c.file.Close())
	}
	go c.serveFrames(raw, mac)
	return c, nil
}

func openPacketSocket(device string) (*os.File, error) {
	index, err := net.InterfaceByName(device)
	if err != nil {
		return nil, err
	}
	const everything = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8 // network byte order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: everything, Ifindex: index.Index}); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "packets of "+device), nil
}

func (c *Capture) serveFrames(raw syscall.RawConn, mac net.HardwareAddr) {
	defer close(c.done)
	buffer := make([]byte, maxFrame)
	for {
		var n int
		var from unix.Sockaddr
		var err error
		wait := raw.Read(func(fd uintptr) bool {
			n, from, err = unix.Recvfrom(int(fd), buffer, 0)
			return !errors.Is(err, unix.EAGAIN)
		})
		if wait != nil {
			return // closed
		}
		if err != nil {
			c.fail(err)
			return
		}
		ll, ok := from.(*unix.SockaddrLinklayer)
		if ok && ll.Pkttype != unix.PACKET_OUTGOING && n >= 14 && bytes.Equal(buffer[6:12], mac) {
			c.note(buffer[:n])
		}
	}
}

func (c *Capture) note(frame []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count++
	if len(c.seen) < maxSeen {
		c.seen = append(c.seen, hex.EncodeToString(frame[:min(len(frame), 42)]))
	}
}

func (c *Capture) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
}

// Frames returns how many frames came, the first bytes of some of them in
// hexadecimal, and the error that ended the capture, if one did.
func (c *Capture) Frames() (count int, seen []string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count, slices.Clone(c.seen), c.err
}

// Close ends the capture.
func (c *Capture) Close() error {
	err := c.file.Close()
	<-c.done
	return err
}
