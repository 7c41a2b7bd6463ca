package microvm

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

// Commands of the control socket: one JSON object a line, answered by one. What
// happens comes in between, as an event, to every client.
const (
	commandStatus  = "status"
	commandStop    = "stop"    // answered by stopped
	commandRun     = "cont"    // answered by resumed
	commandRelease = "release" // a guest that is held may be let run by anybody
	commandLoad    = "load"    // with a state
	commandVerify  = "verify"  // answered by a Verdict
	commandQuit    = "quit"    // the guest is shut down
)

// Events.
const (
	eventStop     = "STOP"
	eventResume   = "RESUME"
	eventShutdown = "SHUTDOWN"
)

// event says what happened and when, in nanoseconds of Unix time.
type event struct {
	Event  string `json:"event"`
	At     int64  `json:"at"`
	Reason string `json:"reason,omitempty"`
}

type request struct {
	Execute string `json:"execute"`
	// Hold makes stop refuse every cont but one with Hold.
	Hold  bool            `json:"hold,omitempty"`
	State json.RawMessage `json:"state,omitempty"`
}

type reply struct {
	Return any    `json:"return,omitempty"`
	Error  string `json:"error,omitempty"`
}

// Status is what a VMM says of itself.
type Status struct {
	Name    string `json:"name"`
	PID     int    `json:"pid"`
	Accel   Accel  `json:"accel"`
	Running bool   `json:"running"`
	Version int    `json:"version"`
	RAM     string `json:"ram"`  // path of the file
	Size    uint64 `json:"size"` // bytes
}

// stopped is the answer to commandStop. At is 0 if the guest did not run.
type stopped struct {
	State State `json:"state"`
	At    int64 `json:"at"`
}

// resumed is the answer to commandRun.
type resumed struct {
	At int64 `json:"at"`
}

// control serves the clients of the control socket.
type control struct {
	listener *net.UnixListener
	machine  *machine
	status   Status
	quit     func()

	mu      sync.Mutex // protects clients and writing to them
	clients map[*net.UnixConn]bool
}

// listenControl makes the socket, for this user only. One that nobody listens
// on is replaced.
func listenControl(path string) (*control, error) {
	if conn, err := net.Dial("unix", path); err == nil {
		return nil, errors.Join(fmt.Errorf("make the control socket: another VMM listens on %s", path), conn.Close())
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("make the control socket: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("make the control socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("make the control socket: %w", err), l.Close())
	}
	return &control{listener: l, clients: make(map[*net.UnixConn]bool)}, nil
}

// serve accepts clients until close.
func (c *control) serve() {
	for {
		conn, err := c.listener.AcceptUnix()
		if err != nil {
			return
		}
		if !c.admit(conn) {
			_ = conn.Close()
			continue
		}
		go c.serveClient(conn)
	}
}

func (c *control) admit(conn *net.UnixConn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.clients == nil || len(c.clients) >= maxClients {
		return false
	}
	c.clients[conn] = true
	return true
}

func (c *control) serveClient(conn *net.UnixConn) {
	defer c.drop(conn)
	lines := bufio.NewScanner(conn)
	lines.Buffer(nil, maxRequest)
	for lines.Scan() {
		var r request
		err := json.Unmarshal(lines.Bytes(), &r)
		var answer any
		if err == nil {
			answer, err = c.execute(r)
		}
		if err != nil {
			c.write(conn, reply{Error: err.Error()})
			continue
		}
		delivered := c.write(conn, reply{Return: answer})
		switch {
		case r.Execute == commandQuit:
			c.quit()
		case r.Execute == commandStop && !delivered:
			c.undo(answer.(stopped))
		}
	}
}

// undo lets a guest go on that was stopped for a client which has gone: nobody
// has its state, and nobody else may know that it stands still.
func (c *control) undo(s stopped) {
	if s.At != 0 {
		_, _ = c.execute(request{Execute: commandRun, Hold: true}) // it may have ended
	}
}

func (c *control) execute(r request) (any, error) {
	switch r.Execute {
	case commandStatus:
		s := c.status
		s.Running = c.machine.isRunning()
		return s, nil
	case commandStop:
		state, at, err := c.machine.stop(r.Hold)
		answer := stopped{State: state}
		if !at.IsZero() {
			answer.At = at.UnixNano()
			c.tell(event{Event: eventStop, At: answer.At})
		}
		return answer, err
	case commandRun:
		at, err := c.machine.run(r.Hold)
		if err == nil {
			c.tell(event{Event: eventResume, At: at.UnixNano()})
		}
		return resumed{At: at.UnixNano()}, err
	case commandRelease:
		c.machine.release()
		return struct{}{}, nil
	case commandLoad:
		state, err := parseState(r.State, c.status.Size)
		if err != nil {
			return nil, err
		}
		return struct{}{}, c.machine.load(state)
	case commandVerify:
		return c.machine.verify()
	case commandQuit:
		return struct{}{}, nil
	}
	return nil, fmt.Errorf("there is no command %q", r.Execute)
}

// tell sends an event to every client.
func (c *control) tell(e event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.clients {
		c.writeLocked(conn, e, eventTimeout)
	}
}

// write sends an answer and reports whether the client was there.
func (c *control) write(conn *net.UnixConn, v any) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.writeLocked(conn, v, writeTimeout)
}

// writeLocked writes a line. A client that does not read loses its connection,
// whose reader notices.
func (c *control) writeLocked(conn *net.UnixConn, v any, patience time.Duration) bool {
	line, err := json.Marshal(v)
	if err == nil {
		_ = conn.SetWriteDeadline(time.Now().Add(patience))
		_, err = conn.Write(append(line, '\n'))
	}
	if err != nil {
		_ = conn.Close()
	}
	return err == nil
}

func (c *control) drop(conn *net.UnixConn) {
	_ = conn.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.clients, conn)
}

// close ends all clients. A request that waits for the machine, which may wait
// for a page, ends with the process.
func (c *control) close() {
	_ = c.listener.Close()
	c.mu.Lock()
	for conn := range c.clients {
		_ = conn.Close()
	}
	c.clients = nil
	c.mu.Unlock()
}
