package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"sync"
	"time"
)

// errTooMany is returned to a client that finds maxClients others.
var errTooMany = errors.New("too many clients follow this engine")

// hub hands each line of the engine to every client. It never waits for one: a
// client that falls clientBuffer lines behind is dropped and may come again.
type hub struct {
	snapshot Snapshot // without Last; not changed

	mu      sync.Mutex // protects all below; a leaf
	last    map[string]json.RawMessage
	clients map[*client]struct{}
	closed  bool
	writers sync.WaitGroup
}

// client is one connection. Its writer ends when lines is closed, which
// happens under hub.mu when it leaves the set.
type client struct {
	conn  *net.UnixConn
	lines chan []byte
}

func newHub(job Job) *hub {
	return &hub{
		snapshot: Snapshot{
			Event: LineSnapshot, Kind: job.Kind, VM: job.VM, PID: os.Getpid(),
			Started: time.Now().UTC(), Peer: job.To + job.Listen,
		},
		last:    map[string]json.RawMessage{},
		clients: map[*client]struct{}{},
	}
}

// publish sends a line, a JSON object whose "event" is kind, to all clients,
// and keeps it for those to come.
func (h *hub) publish(kind string, line []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last[kind] = line
	for c := range h.clients {
		h.giveLocked(c, line)
	}
}

// giveLocked queues a line for c, or drops c if its queue is full.
func (h *hub) giveLocked(c *client, line []byte) {
	select {
	case c.lines <- line:
	default:
		h.dropLocked(c)
		c.conn.Close() // ends a write that blocks
	}
}

// dropLocked takes c out of the set. What is queued is still written.
func (h *hub) dropLocked(c *client) {
	if _, ok := h.clients[c]; ok {
		delete(h.clients, c)
		close(c.lines)
	}
}

// join adds a client, which gets a snapshot and then every line.
func (h *hub) join(conn *net.UnixConn) (*client, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, net.ErrClosed
	}
	if len(h.clients) >= maxClients {
		return nil, errTooMany
	}
	snapshot := h.snapshot
	snapshot.Last = maps.Clone(h.last)
	line, err := marshalLine(snapshot)
	if err != nil {
		return nil, err
	}
	c := &client{conn: conn, lines: make(chan []byte, clientBuffer)}
	h.clients[c] = struct{}{}
	h.writers.Go(func() { h.serveWrites(c) })
	h.giveLocked(c, line)
	return c, nil
}

// answer tells c alone that its cancel has arrived.
func (h *hub) answer(c *client) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var state struct {
		State string `json:"state"`
	}
	if last, ok := h.last[lineState]; ok {
		if err := json.Unmarshal(last, &state); err != nil {
			return fmt.Errorf("parse the last state: %w", err)
		}
	}
	line, err := marshalLine(Answer{Event: LineAnswer, State: state.State})
	if err != nil {
		return err
	}
	if _, ok := h.clients[c]; ok {
		h.giveLocked(c, line)
	}
	return nil
}

// leave drops a client that has gone.
func (h *hub) leave(c *client) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dropLocked(c)
}

// serveWrites writes the lines of one client and closes its connection.
func (h *hub) serveWrites(c *client) {
	defer c.conn.Close()
	for line := range c.lines {
		err := c.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
		if err == nil {
			_, err = c.conn.Write(line)
		}
		if err != nil {
			h.leave(c)
			return
		}
	}
}

// close lets the clients take what is queued for them, for flushTimeout at
// most, and ends them.
func (h *hub) close() {
	h.mu.Lock()
	h.closed = true
	for c := range h.clients {
		h.dropLocked(c)
		slow := time.AfterFunc(flushTimeout, func() { c.conn.Close() })
		defer slow.Stop()
	}
	h.mu.Unlock()
	h.writers.Wait()
}

// marshalLine returns v as one line of JSON.
func marshalLine(v any) ([]byte, error) {
	line, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("marshal a line: %w", err)
	}
	return append(line, '\n'), nil
}
