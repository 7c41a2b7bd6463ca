package relay

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// prepare sets up a socket. With batches, the kernel may hand over several
// datagrams of one sender as one, which saves most of the relay's work; a
// kernel before 5.0 cannot and need not.
func prepare(conn *net.UDPConn, batches bool) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return fmt.Errorf("prepare a socket of the path: %w", err)
	}
	return raw.Control(func(fd uintptr) {
		for _, option := range []int{unix.SO_RCVBUF, unix.SO_RCVBUFFORCE, unix.SO_SNDBUF, unix.SO_SNDBUFFORCE} {
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, option, socketBuffer) // what is allowed
		}
		if batches {
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_GRO, 1)
		}
	})
}

// receive reads one datagram, or a batch of segments of that size.
func receive(conn *net.UDPConn, buffer []byte) (n, segment int, from netip.AddrPort, err error) {
	var control [64]byte
	n, controls, _, from, err := conn.ReadMsgUDPAddrPort(buffer, control[:])
	if err != nil || controls == 0 {
		return n, 0, from, err
	}
	messages, err := unix.ParseSocketControlMessage(control[:controls])
	if err != nil {
		return n, 0, from, nil
	}
	for _, m := range messages {
		if m.Header.Level == unix.IPPROTO_UDP && m.Header.Type == unix.UDP_GRO && len(m.Data) >= 4 {
			segment = int(binary.NativeEndian.Uint32(m.Data))
		}
	}
	if segment >= n {
		segment = 0
	}
	return n, segment, from, nil
}

// sendOn sends a datagram or batch, to the other end of a connected socket if
// to is not valid. What the kernel does not take is lost, as on any path.
func sendOn(conn *net.UDPConn, d datagram, to netip.AddrPort) {
	var control []byte
	if d.segment > 0 {
		control = segmentation(uint16(d.segment))
	}
	_, _, _ = conn.WriteMsgUDPAddrPort(d.buffer, control, to)
}

// segmentation is the control message by which the kernel cuts a batch.
func segmentation(size uint16) []byte {
	control := make([]byte, unix.CmsgSpace(2))
	binary.NativeEndian.PutUint64(control, uint64(unix.CmsgLen(2)))
	binary.NativeEndian.PutUint32(control[8:], unix.IPPROTO_UDP)
	binary.NativeEndian.PutUint32(control[12:], unix.UDP_SEGMENT)
	binary.NativeEndian.PutUint16(control[unix.CmsgLen(0):], size)
	return control
}

// sleeper sleeps with the precision of the kernel's timers. Go's own sleep
// rounds up to a millisecond when the process is idle, which is more than the
// delay of most paths. One goroutine sleeps on it.
type sleeper struct{ file *os.File }

func newSleeper() (*sleeper, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("create the path's timer: %w", err)
	}
	return &sleeper{file: os.NewFile(uintptr(fd), "timerfd")}, nil
}

// sleep returns after d, or when the sleeper is closed.
func (s *sleeper) sleep(d time.Duration) {
	raw, err := s.file.SyscallConn()
	if err != nil {
		return // closed
	}
	err = raw.Control(func(fd uintptr) {
		_ = unix.TimerfdSettime(int(fd), 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(max(int64(d), 1))}, nil)
	})
	if err == nil {
		var expirations [8]byte
		_, _ = s.file.Read(expirations[:]) // or it was closed
	}
}

func (s *sleeper) close() error { return s.file.Close() }
