package microvm

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

// errRefused is an error that the VMM answered: what was asked for was not
// done.
var errRefused = errors.New("the VMM refuses")

// client is a connection to a control socket. One goroutine reads it.
type client struct {
	conn    *net.UnixConn
	answers chan answer
	events  chan event    // what happened; the oldest are dropped when nobody reads
	ended   chan struct{} // closed when the connection has ended
	wait    sync.WaitGroup

	mu sync.Mutex // one request at a time
}

// answer is a reply as it arrives.
type answer struct {
	Return json.RawMessage `json:"return"`
	Error  string          `json:"error"`
}

func dial(ctx context.Context, path string) (*client, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("talk to the microvm: %w", err)
	}
	c := &client{conn: conn.(*net.UnixConn), answers: make(chan answer, 1), events: make(chan event, 16), ended: make(chan struct{})}
	c.wait.Go(c.serve)
	return c, nil
}

// serve sorts answers from events until the connection ends.
func (c *client) serve() {
	defer close(c.ended)
	lines := bufio.NewScanner(c.conn)
	lines.Buffer(nil, maxRequest)
	for lines.Scan() {
		var line struct {
			event
			answer
		}
		if json.Unmarshal(lines.Bytes(), &line) != nil {
			return
		}
		if line.Event == "" {
			select {
			case c.answers <- line.answer:
			default: // to a request that nobody waits for any more
			}
			continue
		}
		c.keep(line.event)
	}
}

// keep queues an event, in place of the oldest where nobody reads. It is the
// only one that puts events in.
func (c *client) keep(e event) {
	for {
		select {
		case c.events <- e:
			return
		default:
		}
		select {
		case <-c.events:
		default: // somebody has just read it
		}
	}
}

// execute sends a command and reads its answer into result. An error that
// wraps errRefused is the VMM's; any other leaves open whether it was done.
func (c *client) execute(ctx context.Context, r request, result any) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_ = c.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := c.conn.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("tell the microvm to %s: %w", r.Execute, err)
	}
	select {
	case a := <-c.answers:
		return a.read(r.Execute, result)
	case <-c.ended:
		select {
		case a := <-c.answers:
			return a.read(r.Execute, result)
		default:
		}
		return fmt.Errorf("tell the microvm to %s: %w", r.Execute, net.ErrClosed)
	case <-ctx.Done():
		_ = c.conn.Close() // its answer would be taken for another's
		<-c.ended
		return fmt.Errorf("tell the microvm to %s: no answer: %w", r.Execute, context.Cause(ctx))
	}
}

func (a answer) read(command string, result any) error {
	if a.Error != "" {
		return fmt.Errorf("tell the microvm to %s: %w: %s", command, errRefused, a.Error)
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(a.Return, result); err != nil {
		return fmt.Errorf("read the microvm's answer to %s: %w", command, err)
	}
	return nil
}

func (c *client) status(ctx context.Context) (Status, error) {
	var s Status
	err := c.execute(ctx, request{Execute: commandStatus}, &s)
	return s, err
}

func (c *client) close() error {
	err := c.conn.Close()
	c.wait.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Verify asks the VMM behind a control socket whether every byte of its guest's
// memory is as the program left it.
func Verify(ctx context.Context, path string) (Verdict, error) {
	var v Verdict
	err := ask(ctx, path, commandVerify, &v)
	return v, err
}

// Pause stops the guest behind a control socket, Resume lets it run.
func Pause(ctx context.Context, path string) error  { return ask(ctx, path, commandStop, nil) }
func Resume(ctx context.Context, path string) error { return ask(ctx, path, commandRun, nil) }

// Quit shuts the guest behind a control socket down.
func Quit(ctx context.Context, path string) error { return ask(ctx, path, commandQuit, nil) }

// Ask returns what the VMM behind a control socket says of itself.
func Ask(ctx context.Context, path string) (Status, error) {
	var s Status
	err := ask(ctx, path, commandStatus, &s)
	return s, err
}

func ask(ctx context.Context, path, command string, result any) error {
	c, err := dial(ctx, path)
	if err != nil {
		return err
	}
	return errors.Join(c.execute(ctx, request{Execute: command}, result), c.close())
}
