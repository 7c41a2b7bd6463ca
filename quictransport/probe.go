package quictransport

import (
	"context"
	"errors"
	"net"
	"syscall"
	"time"
)

// watchPort waits until the host at remote says by ICMP that nobody listens on
// the port, and then returns an error; or until ctx ends, and returns nil. QUIC
// sockets are not connected and do not learn of it, so that a dial to a closed
// port would only time out.
//
// One datagram is sent, whose first byte no QUIC packet has: a QUIC listener
// drops it. If it or the answer is lost, the dial times out after all.
func watchPort(ctx context.Context, remote *net.UDPAddr) error {
	c, err := net.DialUDP("udp", nil, remote)
	if err != nil {
		return nil // the dial meets the same fault and reports it
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) }) // fails only if closed
	defer stop()
	if _, err := c.Write([]byte{0}); err != nil {
		return nil
	}
	var answer [1]byte
	if _, err := c.Read(answer[:]); !errors.Is(err, syscall.ECONNREFUSED) {
		return nil
	}
	return &Error{
		kind: ErrPortClosed, text: "connection refused: nobody listens on that port",
		hint: "start `lazymig receive` there first, and check the port",
	}
}
