package qmp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Dial connects to the monitor that listens at path, waits for its greeting
// (at most 2 seconds) and negotiates. The errors ErrInUse and ErrNotQMP, and
// the error of connect(2), can be told by errors.Is.
func Dial(ctx context.Context, path string) (*Client, error) {
	conn, err := connect(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("connect to the monitor %s: %w", path, err)
	}
	c := newClient(conn)
	if err := c.greet(ctx); err != nil {
		conn.Close()
		return nil, fmt.Errorf("greet the monitor %s: %w", path, err)
	}
	go c.serveReads()
	if err := c.Execute(ctx, "qmp_capabilities", nil, nil); err != nil {
		return nil, errors.Join(fmt.Errorf("negotiate with the monitor %s: %w", path, err), c.Close())
	}
	return c, nil
}

func connect(ctx context.Context, path string) (*net.UnixConn, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("the path has %d bytes, a socket's has at most %d: use a shorter path or a symbolic link", len(path), maxSocketPath)
	}
	ctx, cancel := context.WithTimeout(ctx, greetingTimeout)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, explainConnect(err)
	}
	return conn.(*net.UnixConn), nil
}

func explainConnect(err error) error {
	switch {
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("no such socket, give the PATH of QEMU's -qmp unix:PATH: %w", err)
	case errors.Is(err, unix.ECONNREFUSED):
		return fmt.Errorf("nobody listens there (QEMU has ended, or the path is no socket): %w", err)
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return fmt.Errorf("run as root or as QEMU's user: %w", err)
	case errors.Is(err, unix.EAGAIN), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w, and others wait for it: %w", ErrInUse, err)
	}
	return err
}

// greet reads the first lines before the reader goroutine runs.
func (c *Client) greet(ctx context.Context) error {
	deadline := time.Now().Add(greetingTimeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if err := c.conn.SetReadDeadline(deadline); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { c.conn.Close() })
	err := c.readGreeting()
	if !stop() {
		return context.Cause(ctx)
	}
	if err != nil {
		return err
	}
	return c.conn.SetReadDeadline(time.Time{})
}

// readGreeting reads until the monitor has greeted. An event may come before
// that: QEMU (seen with 7.2) sends one for the client before to a connection that
// it has just accepted.
func (c *Client) readGreeting() error {
	for {
		line, err := c.reader.ReadSlice('\n')
		if err != nil {
			return explainGreeting(line, err)
		}
		m, err := parseMessage(line)
		switch {
		case err == nil && m.Greeting != nil:
			return nil
		case err != nil || m.Event == "":
			return fmt.Errorf("%w: it says %q", ErrNotQMP, clip(line))
		}
	}
}

func explainGreeting(line []byte, err error) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded) && len(line) == 0:
		return fmt.Errorf("%w (it did not greet in %v): give lazymig a monitor of its own, a second -qmp", ErrInUse, greetingTimeout)
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, bufio.ErrBufferFull):
		return fmt.Errorf("%w: it says %q", ErrNotQMP, clip(line))
	case errors.Is(err, io.EOF):
		return fmt.Errorf("%w: it closed the connection: %w", ErrNotQMP, err)
	}
	return err
}
