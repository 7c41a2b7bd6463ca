package migrations

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/lazymig/lazymig/bench/host"
	"github.com/lazymig/lazymig/internal/migrate"
)

// command is a running lazymig.
type command struct {
	args    []string
	process *host.Process

	listening chan struct{} // closed when a receive waits for its source

	mu     sync.Mutex // protects all below
	stderr []byte
	report *migrate.Report // what it said at the end
}

func (e end) start(args []string) (*command, error) {
	c := &command{args: args, listening: make(chan struct{})}
	var err error
	c.process, err = e.host.Start(host.Command{Args: append([]string{e.program}, args...), Stdout: &events{command: c}, Stderr: c})
	if err != nil {
		return nil, fmt.Errorf("start lazymig %s: %w", args[0], err)
	}
	return c, nil
}

// events reads the lines of JSON that a command says. It is for one goroutine.
type events struct {
	command   *command
	line      []byte // has no end yet
	listening bool
}

// Write takes the next part.
func (e *events) Write(text []byte) (int, error) {
	e.line = append(e.line, text...)
	for {
		line, rest, whole := bytes.Cut(e.line, []byte("\n"))
		if !whole {
			break
		}
		e.take(line)
		e.line = rest
	}
	if len(e.line) > maxLine {
		return 0, errors.New("a line of lazymig is too long")
	}
	return len(text), nil
}

func (e *events) take(line []byte) {
	var event migrate.Event
	if json.Unmarshal(line, &event) != nil {
		return
	}
	e.command.note(event.Report)
	if !e.listening && strings.HasPrefix(event.Message, "waiting for") {
		e.listening = true
		close(e.command.listening)
	}
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
	case <-c.process.Ended():
		return errors.Join(errors.New("lazymig receive ended at once"), c.failure())
	case <-ctx.Done():
		return fmt.Errorf("wait for lazymig receive: %w", context.Cause(ctx))
	}
}

// wait waits for the end and returns an error unless all is well.
func (c *command) wait(ctx context.Context) error {
	select {
	case <-c.process.Ended():
		return c.failure()
	case <-ctx.Done():
		return fmt.Errorf("wait for %s: %w", "lazymig "+c.args[0], context.Cause(ctx))
	}
}

// failure returns how the command failed, nil while it runs.
func (c *command) failure() error {
	err := c.process.Err()
	if err == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return fmt.Errorf("run lazymig: %w: %s", err, strings.TrimSpace(string(c.stderr)))
}
