package qmp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// Client is one connection to a monitor. All methods may be called from any
// goroutine.
type Client struct {
	conn    *net.UnixConn
	peer    int
	reader  *bufio.Reader // the reader goroutine's, and Dial's before it
	done    chan struct{} // closed when the reader goroutine has ended
	writing chan struct{} // semaphore: one command at a time is written

	// mu protects what follows.
	mu       sync.Mutex
	lastID   uint64
	pending  map[uint64]chan message // nil channel: the caller gave up
	watchers map[*Subscription]struct{}
	settling []chan struct{}
	err      error // why the connection ended
}

func newClient(conn *net.UnixConn) *Client {
	c := &Client{
		conn:     conn,
		peer:     peerOf(conn),
		done:     make(chan struct{}),
		writing:  make(chan struct{}, 1),
		pending:  make(map[uint64]chan message),
		watchers: make(map[*Subscription]struct{}),
	}
	c.reader = bufio.NewReaderSize((*source)(c), 64<<10)
	return c
}

// Execute runs a command and decodes its answer into result, which may be
// nil. args is encoded as JSON; nil means none. A refusal by QEMU is a
// *CommandError. Without an answer before the context's deadline (30 seconds
// if it has none) the error is ErrNoAnswer; the command may still be carried
// out then, and its late answer is dropped.
func (c *Client) Execute(ctx context.Context, name string, args, result any) error {
	return c.execute(ctx, name, args, result, -1)
}

// ExecuteFD is Execute for a command that takes a descriptor, such as getfd.
// The descriptor is duplicated into QEMU; the caller keeps its own.
func (c *Client) ExecuteFD(ctx context.Context, name string, args any, fd int) error {
	if fd < 0 {
		return fmt.Errorf("execute %s: descriptor %d is not open", name, fd)
	}
	return c.execute(ctx, name, args, nil, fd)
}

func (c *Client) execute(ctx context.Context, name string, args, result any, fd int) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, commandTimeout)
		defer cancel()
	}
	answer, err := c.exchange(ctx, name, args, fd)
	if err == nil && answer.Error != nil {
		err = answer.Error
	}
	if err != nil {
		return fmt.Errorf("execute %s: %w", name, err)
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(answer.Return, result); err != nil {
		return fmt.Errorf("execute %s: decode the answer: %w", name, err)
	}
	return nil
}

func (c *Client) exchange(ctx context.Context, name string, args any, fd int) (message, error) {
	id, answer, err := c.expect()
	if err != nil {
		return message{}, err
	}
	line, err := json.Marshal(command{Execute: name, Arguments: args, ID: id})
	if err != nil {
		c.forget(id)
		return message{}, fmt.Errorf("encode the arguments: %w", err)
	}
	if err := c.write(ctx, append(line, '\n'), fd); err != nil {
		c.forget(id)
		return message{}, err
	}
	select {
	case m, ok := <-answer:
		if !ok {
			return message{}, c.Err()
		}
		return m, nil
	case <-ctx.Done():
		c.giveUp(id)
		return message{}, noAnswer(ctx)
	}
}

func noAnswer(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("%w: %w", ErrNoAnswer, ctx.Err())
	}
	return context.Cause(ctx)
}

// expect numbers a command and makes room for its answer.
func (c *Client) expect() (uint64, chan message, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, nil, c.err
	}
	if len(c.pending) >= maxPending {
		return 0, nil, fmt.Errorf("%w to %d commands", ErrNoAnswer, len(c.pending))
	}
	c.lastID++
	answer := make(chan message, 1)
	c.pending[c.lastID] = answer
	return c.lastID, answer, nil
}

// forget drops a command that never reached the monitor.
func (c *Client) forget(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.pending, id)
}

// giveUp keeps the number of a command whose answer may still come.
func (c *Client) giveUp(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.pending[id]; ok {
		c.pending[id] = nil
	}
}

// PeerPID returns the process that listened on the socket when Dial
// connected, 0 if the kernel does not tell. It is QEMU itself unless a manager
// handed the listening socket to QEMU.
func (c *Client) PeerPID() int { return c.peer }

// Done is closed when the connection has ended; Err says why.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err returns why the connection has ended, nil while it lives. After Close
// it unwraps to net.ErrClosed.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends the connection and waits for the reader goroutine. Commands that
// wait for an answer return net.ErrClosed. Only the first call does anything.
func (c *Client) Close() error {
	c.fail(net.ErrClosed)
	<-c.done
	return nil
}

// fail records the first reason for the end and ends the connection.
func (c *Client) fail(err error) {
	c.mu.Lock()
	if c.err == nil {
		c.err = fmt.Errorf("use the monitor: %w", err)
	}
	c.mu.Unlock()
	c.conn.Close()
}

// deadlineOf returns the context's deadline or no deadline.
func deadlineOf(ctx context.Context) time.Time {
	d, _ := ctx.Deadline()
	return d
}
