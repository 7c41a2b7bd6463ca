package worker

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"
)

const (
	// maxLine bounds a line that a worker writes: a million samples.
	maxLine = 64 << 20

	// closeTimeout bounds the wait for a worker to end by itself.
	closeTimeout = 5 * time.Second
)

// Worker is the parent's end. It is for one goroutine.
type Worker struct {
	name   string
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	lines  *bufio.Scanner
	stderr bytes.Buffer
}

// Start starts cmd and gives it its job. name is for errors.
func Start(cmd *exec.Cmd, name string, job any) (*Worker, error) {
	w := &Worker{name: name, cmd: cmd}
	input, err := json.Marshal(job)
	if err != nil {
		return nil, fmt.Errorf("describe the job of the %s: %w", name, err)
	}
	if w.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("make a pipe to the %s: %w", name, err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe from the %s: %w", name, err)
	}
	cmd.Stderr = &w.stderr
	w.lines = bufio.NewScanner(out)
	w.lines.Buffer(nil, maxLine)
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the %s: %w", name, err)
	}
	if _, err := w.stdin.Write(append(input, '\n')); err != nil {
		return nil, errors.Join(fmt.Errorf("give the %s its job: %w", name, err), w.Close())
	}
	return w, nil
}

// Read waits for the next line and decodes it.
func (w *Worker) Read(to any) error {
	if !w.lines.Scan() {
		err := w.lines.Err()
		if err == nil {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("wait for the %s: %w%s", w.name, err, w.said(w.Close()))
	}
	if err := json.Unmarshal(w.lines.Bytes(), to); err != nil {
		return fmt.Errorf("read what the %s says: %w", w.name, err)
	}
	return nil
}

// said is how the worker ended and what it complained about.
func (w *Worker) said(ended error) string {
	text := strings.TrimSpace(w.stderr.String())
	if ended != nil {
		text = ended.Error()
	}
	if text == "" {
		return ""
	}
	return ": " + text
}

// Dismiss tells the worker to end. What it says then can still be read.
func (w *Worker) Dismiss() error {
	if err := w.stdin.Close(); err != nil {
		return fmt.Errorf("dismiss the %s: %w", w.name, err)
	}
	return nil
}

// Close tells the worker to end, kills it if it does not, and waits. It is
// safe to call again.
func (w *Worker) Close() error {
	if w.cmd.ProcessState != nil {
		return nil
	}
	_ = w.stdin.Close() // it may have ended
	kill := time.AfterFunc(closeTimeout, func() { _ = w.cmd.Process.Kill() })
	defer kill.Stop()
	for w.lines.Scan() { // or it would wait for a reader
	}
	if err := w.cmd.Wait(); err != nil {
		return fmt.Errorf("run the %s: %w: %s", w.name, err, strings.TrimSpace(w.stderr.String()))
	}
	return nil
}

// Kill ends the worker at once and waits.
func (w *Worker) Kill() {
	if w.cmd.ProcessState == nil {
		_ = w.cmd.Process.Kill() // it may have ended
		_ = w.Close()            // says that it was killed
	}
}

// Run is the worker's end: it reads the job from in and does it. The context
// of do ends when the parent closes in, or is gone.
func Run(in io.Reader, job any, do func(context.Context) error) error {
	lines := bufio.NewReader(in)
	line, err := lines.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, job)
	}
	if err != nil {
		return fmt.Errorf("read the job: %w", err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	go func() { // ends with in, at the latest with the process
		_, _ = io.Copy(io.Discard, lines)
		cancel(ErrDismissed)
	}()
	return do(ctx)
}

// ErrDismissed is the cause of a worker's context that ended because its
// parent wants it to, or is gone.
var ErrDismissed = errors.New("the parent wants nothing more")

// Say writes one line.
func Say(out io.Writer, what any) error {
	if err := json.NewEncoder(out).Encode(what); err != nil {
		return fmt.Errorf("tell the parent: %w", err)
	}
	return nil
}
