package migrations

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"syscall"

	"github.com/lazymig/lazymig/bench/link"
	"github.com/lazymig/lazymig/internal/migrate"
)

// command is a running lazymig.
type command struct {
	cmd   *exec.Cmd
	ended chan struct{}

	listening chan struct{} // closed when a receive waits for its source

	mu     sync.Mutex // protects all below
	stderr []byte
	report *migrate.Report // what it said at the end
	err    error           // how it ended
}

func (o *own) start(ctx context.Context, host link.Side, args []string) (*command, error) {
	c := &command{ended: make(chan struct{}), listening: make(chan struct{})}
	c.cmd = o.link.Command(context.WithoutCancel(ctx), host, o.program, args...)
	c.cmd.Stderr = c
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start lazymig %s: %w", args[0], err)
	}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start lazymig %s: %w", args[0], err)
	}
	go c.serve(out)
	return c, nil
}

func (c *command) serve(out io.Reader) {
	defer close(c.ended)
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, maxLine)
	listening := false
	for lines.Scan() {
		var e migrate.Event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			continue
		}
		if !listening && strings.HasPrefix(e.Message, "waiting for") {
			listening = true
			close(c.listening)
		}
		c.note(e.Report)
	}
	err := c.cmd.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
}

// note keeps the report of an event that has one.
func (c *command) note(report *migrate.Report) {
	if report == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.report = report
}

// Write keeps the end of what the command says.
func (c *command) Write(text []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stderr = append(c.stderr, text...)
	c.stderr = c.stderr[max(0, len(c.stderr)-maxStderr):]
	return len(text), nil
}

// listens waits until a receive waits for its source.
func (c *command) listens(ctx context.Context) error {
	select {
	case <-c.listening:
		return nil
	case <-c.ended:
		return errors.Join(errors.New("lazymig receive ended at once"), c.failure())
	case <-ctx.Done():
		return fmt.Errorf("wait for lazymig receive: %w", context.Cause(ctx))
	}
}

// wait waits for the end and returns an error unless all is well.
func (c *command) wait(ctx context.Context) error {
	select {
	case <-c.ended:
		return c.failure()
	case <-ctx.Done():
		return fmt.Errorf("wait for %s: %w", strings.Join(c.cmd.Args[:min(5, len(c.cmd.Args))], " "), context.Cause(ctx))
	}
}

// failure returns how the command failed, nil while it runs.
func (c *command) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		return nil
	}
	return fmt.Errorf("run lazymig: %w: %s", c.err, strings.TrimSpace(string(c.stderr)))
}
