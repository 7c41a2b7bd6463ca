package demo

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"

	"github.com/lazymig/lazymig/internal/migrate"
)

// command is a running `lazymig send` or `lazymig receive`.
type command struct {
	name   string
	cmd    *exec.Cmd
	events chan migrate.Event // closed when it has ended
	report *migrate.Report    // the last one; valid when events is closed

	mu     sync.Mutex // protects all below
	stderr []byte
	err    error // how it ended
}

// environment marks a process as one of this workplace.
func (w *workplace) environment() []string {
	return append(os.Environ(), markVariable+"="+w.name)
}

// start starts lazymig with args, in a process group of its own: Ctrl-C is for
// the demonstration, which then ends it.
func (r *run) command(args ...string) (*command, error) {
	c := &command{name: "lazymig " + args[0], events: make(chan migrate.Event)}
	c.cmd = exec.Command(r.cfg.Program, args...)
	c.cmd.Args[0] = r.cfg.Name
	c.cmd.Env = r.place.environment()
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.cmd.Stderr = c
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", c.name, err)
	}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", c.name, err)
	}
	r.wait.Go(func() { c.serve(out, r.stopped) })
	return c, nil
}

// serve hands over the events of the command until it has ended. When nobody
// listens any more it only waits for that.
func (c *command) serve(out io.Reader, stopped <-chan struct{}) {
	defer close(c.events)
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		var e migrate.Event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			continue // a newer kind
		}
		if e.Report != nil {
			c.report = e.Report
		}
		select {
		case c.events <- e:
		case <-stopped:
		}
	}
	_, _ = io.Copy(io.Discard, out) // behind a line that was too long
	err := c.cmd.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
}

// Write keeps the end of what the command says.
func (c *command) Write(text []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stderr = append(c.stderr, text...)
	c.stderr = c.stderr[max(0, len(c.stderr)-maxStderr):]
	return len(text), nil
}

// failure returns why the command ended, or nil if all was well. It may be
// called when events is closed.
func (c *command) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		return nil
	}
	text, hint := c.said()
	if text == "" {
		text = c.err.Error()
	}
	return &Error{text: c.name + ": " + text, hint: hint}
}

// said finds error and hint among the messages.
func (c *command) said() (text, hint string) {
	for line := range strings.Lines(string(c.stderr)) {
		line = strings.TrimSpace(line)
		if rest, ok := strings.CutPrefix(line, "lazymig: error: "); ok {
			text = rest
		}
		if rest, ok := strings.CutPrefix(line, "lazymig: hint: "); ok {
			hint = rest
		}
	}
	return text, hint
}
