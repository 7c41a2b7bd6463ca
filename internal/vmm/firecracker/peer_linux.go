package firecracker

import (
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"github.com/lazymig/lazymig/uffd"
)

// peer is the process at the other end of a connection.
type peer struct {
	pid   int
	pidfd *os.File
}

// peerOf asks the kernel who has connected. The number comes with the
// connection; the pidfd too where the kernel can do that (Linux 6.5), else it
// is opened by number, at once.
func peerOf(conn *net.UnixConn) (peer, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return peer{}, fmt.Errorf("ask who connected: %w", err)
	}
	var who peer
	var problem error
	err = raw.Control(func(fd uintptr) { who, problem = peerOfSocket(int(fd)) })
	return who, errors.Join(err, problem)
}

func peerOfSocket(socket int) (peer, error) {
	credentials, err := unix.GetsockoptUcred(socket, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return peer{}, fmt.Errorf("ask who connected: %w", err)
	}
	who := peer{pid: int(credentials.Pid)}
	if who.pid <= 0 {
		return who, errors.New("the VMM's process cannot be seen from here: run both in the same PID namespace")
	}
	fd, err := unix.GetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_PEERPIDFD)
	if errors.Is(err, unix.ENOPROTOOPT) || errors.Is(err, unix.EOPNOTSUPP) {
		fd, err = unix.PidfdOpen(who.pid, 0)
	}
	if err != nil {
		return who, fmt.Errorf("open the process that connected: %w", err)
	}
	unix.CloseOnExec(fd)
	if err := unix.SetNonblock(fd, true); err != nil { // so that Go's poller takes it
		return who, errors.Join(fmt.Errorf("watch the process that connected: %w", err), unix.Close(fd))
	}
	who.pidfd = os.NewFile(uintptr(fd), "pidfd")
	return who, nil
}

// refuse turns the peer away and releases all that came from it. A process
// that has handed a userfaultfd over dies first, or it might read zeros.
func (p peer) refuse(descriptors []int, cause error) error {
	refused := &RefusedError{PID: p.pid, cause: cause}
	if handedOver(descriptors) && p.pid != os.Getpid() {
		err := kill(p.pidfd)
		if err == nil {
			err = awaitExit(p.pidfd, killTimeout)
		}
		refused.Killed = err == nil
		refused.cause = errors.Join(cause, err)
	}
	for _, fd := range descriptors {
		_ = unix.Close(fd) // nobody wrote to it
	}
	_ = p.pidfd.Close() // cannot lose anything
	return refused
}

func handedOver(descriptors []int) bool {
	for _, fd := range descriptors {
		if uffd.CheckKind(fd) == nil {
			return true
		}
	}
	return false
}
