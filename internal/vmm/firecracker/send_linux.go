package firecracker

import (
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// Send is the VMM's side: it gives regions and the userfaultfd, for which they
// are registered, to the handler that listens at the other end of conn. The
// VMM keeps fd open for as long as pages are missing. There is no answer: a
// handler that refuses kills the VMM.
func Send(conn *net.UnixConn, regions []Region, fd int) error {
	message, err := format(regions)
	if err != nil {
		return fmt.Errorf("hand userfaultfd over: %w", err)
	}
	n, _, err := conn.WriteMsgUnix(message, unix.UnixRights(fd), nil)
	if err == nil && n < len(message) {
		_, err = conn.Write(message[n:])
	}
	if err != nil {
		return fmt.Errorf("hand userfaultfd over: %w", err)
	}
	return nil
}
