package qmp

import (
	"context"
	"fmt"
	"io"
	"net"

	"golang.org/x/sys/unix"
)

// write sends one line, with a descriptor if fd is not negative. A line that
// was cut short leaves the monitor in an unknown state, so it ends the
// connection.
func (c *Client) write(ctx context.Context, line []byte, fd int) error {
	select {
	case c.writing <- struct{}{}:
	case <-c.done:
		return c.Err()
	case <-ctx.Done():
		return noAnswer(ctx)
	}
	defer func() { <-c.writing }()
	if err := c.conn.SetWriteDeadline(deadlineOf(ctx)); err != nil {
		return c.endOr(err)
	}
	n, err := c.send(line, fd)
	if err != nil && n > 0 {
		c.fail(fmt.Errorf("cut a command short: %w", err))
	}
	return c.endOr(err)
}

func (c *Client) send(line []byte, fd int) (int, error) {
	if fd < 0 {
		return c.conn.Write(line)
	}
	n, _, err := c.conn.WriteMsgUnix(line, unix.UnixRights(fd), nil)
	if err != nil || n == len(line) {
		return n, err
	}
	m, err := c.conn.Write(line[n:])
	if err == nil && n+m < len(line) {
		err = io.ErrShortWrite
	}
	return n + m, err
}

// endOr prefers the reason for which the connection has ended to the error
// that its end caused.
func (c *Client) endOr(err error) error {
	if err == nil {
		return nil
	}
	if end := c.Err(); end != nil {
		return end
	}
	return err
}

// peerOf returns the process that listened on the socket (SO_PEERCRED), 0 if
// it cannot be told.
func peerOf(conn *net.UnixConn) int {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0
	}
	var pid int32
	err = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = cred.Pid
		}
	})
	if err != nil {
		return 0
	}
	return int(pid)
}
