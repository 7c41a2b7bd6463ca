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
	commandStatus = "status"
	commandStop   = "stop"   // answered by stopped
	commandRun    = "cont"   // answered by resumed
	commandLoad   = "load"   // with a state
	commandVerify = "verify" // answered by a Verdict
	commandQuit   = "quit"   // the guest is shut down
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
	Execute string          `json:"execute"`
	State   json.RawMessage `json:"state,omitempty"`
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
	wait     sync.WaitGroup

	mu      sync.Mutex // protects clients and writing to them
	clients map[*net.UnixConn]bool
}

func listenControl(path string) (*control, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("make the control socket: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("make the control socket: %w", err)
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
		c.wait.Go(func() { c.serveClient(conn) })
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
		c.write(conn, reply{Return: answer})
		if r.Execute == commandQuit {
			c.quit()
		}
	}
}

func (c *control) execute(r request) (any, error) {
	switch r.Execute {
	case commandStatus:
		s := c.status
		s.Running = c.machine.isRunning()
		return s, nil
	case commandStop:
		state, at, err := c.machine.stop()
		answer := stopped{State: state}
		if !at.IsZero() {
			answer.At = at.UnixNano()
		}
		return answer, err
	case commandRun:
		at, err := c.machine.run()
		return resumed{At: at.UnixNano()}, err
	case commandLoad:
		state, err := parseState(r.State, c.status.Size)
		if err != nil {
			return nil, err
		}
		return struct{}{}, c.machine.load(state)
	case commandVerify:
		return c.machine.verify()
	case commandQuit:
		c.tell(event{Event: eventShutdown, At: time.Now().UnixNano(), Reason: commandQuit})
		return struct{}{}, nil
	}
	return nil, fmt.Errorf("there is no command %q", r.Execute)
}

// tell sends an event to every client.
func (c *control) tell(e event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.clients {
		c.writeLocked(conn, e)
	}
}

func (c *control) write(conn *net.UnixConn, v any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writeLocked(conn, v)
}

// writeLocked writes a line. A client that does not read loses its connection,
// whose reader notices.
func (c *control) writeLocked(conn *net.UnixConn, v any) {
	line, err := json.Marshal(v)
	if err == nil {
		_ = conn.SetWriteDeadline(time.Now().Add(writeTimeout))
		_, err = conn.Write(append(line, '\n'))
	}
	if err != nil {
		_ = conn.Close()
	}
}

func (c *control) drop(conn *net.UnixConn) {
	_ = conn.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.clients, conn)
}

// close ends all clients, but for requests that wait for the machine, which
// has ended.
func (c *control) close() {
	_ = c.listener.Close()
	c.mu.Lock()
	for conn := range c.clients {
		_ = conn.Close()
	}
	c.clients = nil
	c.mu.Unlock()
	c.wait.Wait()
}
