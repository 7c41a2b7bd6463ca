package qmp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// serveReads is the reader goroutine: it hands out every line until the
// connection ends.
func (c *Client) serveReads() {
	defer close(c.done)
	for {
		line, err := c.readLine()
		received := time.Now()
		if err == nil {
			err = c.dispatch(line, received)
		}
		if err != nil {
			c.fail(err)
			c.releaseAll()
			return
		}
	}
}

// readLine returns the next line; the slice is valid until the next call.
func (c *Client) readLine() ([]byte, error) {
	line, err := c.reader.ReadSlice('\n')
	if !errors.Is(err, bufio.ErrBufferFull) {
		return line, lineEnd(line, err)
	}
	long := append([]byte(nil), line...)
	for errors.Is(err, bufio.ErrBufferFull) {
		if len(long) > maxMessage {
			return nil, fmt.Errorf("%w: a message is longer than %d bytes", ErrProtocol, maxMessage)
		}
		line, err = c.reader.ReadSlice('\n')
		long = append(long, line...)
	}
	return long, lineEnd(long, err)
}

func lineEnd(line []byte, err error) error {
	if errors.Is(err, io.EOF) {
		if len(line) > 0 {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("QEMU closed it: %w", err)
	}
	return err
}

// dispatch gives one line to whom it belongs.
func (c *Client) dispatch(line []byte, received time.Time) error {
	m, err := parseMessage(line)
	switch {
	case err != nil:
		return err
	case m.Event != "":
		c.publish(m.asEvent(received))
	case m.ID != nil:
		c.deliver(*m.ID, m)
	case m.Error != nil:
		return fmt.Errorf("%w: an error without an id: %w", ErrProtocol, m.Error)
	}
	return nil
}

// deliver hands an answer to its command. One that nobody waits for any more
// is dropped.
func (c *Client) deliver(id uint64, m message) {
	c.mu.Lock()
	answer := c.pending[id]
	delete(c.pending, id)
	c.mu.Unlock()
	if answer != nil {
		answer <- m
	}
}

// releaseAll lets go of everybody who waits on a connection that has ended.
func (c *Client) releaseAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, answer := range c.pending {
		delete(c.pending, id)
		if answer != nil {
			close(answer)
		}
	}
	for s := range c.watchers {
		delete(c.watchers, s)
		s.end(c.err)
	}
	c.settleLocked(len(c.settling))
}

// Settle returns when everything that the monitor had written to the socket
// when Settle was called is in the subscriptions. With QEMU stopped by a
// signal that is all it ever said. It returns the connection's error if that
// has ended, after which the same holds.
func (c *Client) Settle(ctx context.Context) error {
	settled := make(chan struct{})
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		<-c.done
		return c.Err()
	}
	c.settling = append(c.settling, settled)
	err := c.conn.SetReadDeadline(time.Unix(1, 0)) // wakes the reader
	c.mu.Unlock()
	if err != nil {
		return c.endOr(err)
	}
	select {
	case <-settled:
		return c.Err()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// settleLocked tells the first n callers of Settle.
func (c *Client) settleLocked(n int) {
	for _, settled := range c.settling[:n] {
		close(settled)
	}
	c.settling = c.settling[n:]
}

// source is the Client as the reader goroutine's byte source. All complete
// lines that were read before are dispatched whenever it is asked for more.
type source Client

// Read reads from the socket. A passed deadline is a call of Settle: then the
// rest is read without waiting, and at its end the deadline goes.
func (s *source) Read(p []byte) (int, error) {
	c := (*Client)(s)
	for {
		n, err := c.conn.Read(p)
		if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		c.mu.Lock()
		callers := len(c.settling)
		c.mu.Unlock()
		if callers == 0 { // the deadline is Dial's
			return 0, err
		}
		n, err = c.readNow(p)
		if !errors.Is(err, unix.EAGAIN) {
			return n, err
		}
		if err := c.settled(callers); err != nil {
			return 0, err
		}
	}
}

// settled tells the callers who were there before the socket was seen empty,
// and lets the reader wait again if there are no new ones.
func (c *Client) settled(callers int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settleLocked(callers)
	if len(c.settling) > 0 {
		return nil
	}
	return c.conn.SetReadDeadline(time.Time{})
}

// readNow reads what is there, EAGAIN if nothing is.
func (c *Client) readNow(p []byte) (n int, err error) {
	raw, err := c.conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	controlErr := raw.Control(func(fd uintptr) {
		n, err = unix.Read(int(fd), p)
	})
	switch {
	case controlErr != nil:
		return 0, controlErr
	case err != nil:
		return 0, err
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}
