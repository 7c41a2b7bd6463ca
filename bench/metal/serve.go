package metal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/lazymig/lazymig/bench/host"
	"github.com/lazymig/lazymig/bench/leftover"
)

// helper does what the driver asks for. Its goroutines end with the process.
type helper struct {
	out     *writer
	dir     string
	ramDir  string
	local   *host.Local
	handles map[string]func(context.Context, json.RawMessage) (any, error)

	mu        sync.Mutex // protects all below
	device    string     // the network card to the other host
	processes map[uint64]*host.Process
	listeners map[uint64]host.Listener
	streams   map[uint64]io.ReadWriteCloser
	watch     host.Watch
	echo      *echo
}

// errSilence is why a helper ends whose driver has gone without a word.
var errSilence = errors.New("the driver says nothing any more")

// Serve is a helper: it does what comes from in until that ends, nothing comes
// for a while, or ctx ends. Then it ends all processes that it has started, and
// removes dir, its folder.
func Serve(ctx context.Context, in io.Reader, out io.Writer, dir string) (err error) {
	h := &helper{
		out: &writer{out: out}, dir: dir,
		processes: map[uint64]*host.Process{}, listeners: map[uint64]host.Listener{}, streams: map[uint64]io.ReadWriteCloser{},
	}
	h.local = host.Machine("", h.deviceName)
	h.handles = h.calls()
	defer func() { err = errors.Join(err, h.clean()) }()
	if err := host.Adopt(); err != nil {
		return err
	}
	if os.Geteuid() == 0 { // the driver refuses others, in its own words
		if err := leftover.Sweep(ctx); err != nil {
			return err
		}
	}
	ramDir := "/dev/shm/" + leftover.Name("metal-ram")
	if err := os.Mkdir(ramDir, 0o700); err != nil {
		return fmt.Errorf("create a folder for memory: %w", err)
	}
	h.ramDir = ramDir
	if err := h.out.send(message{Hello: dir}); err != nil {
		return err
	}
	return h.serve(ctx, in)
}

// serve takes messages.
func (h *helper) serve(ctx context.Context, in io.Reader) error {
	messages, ended := make(chan message), make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { ended <- read(ctx, in, messages) }()
	alone := time.NewTimer(silence)
	for {
		select {
		case m := <-messages:
			alone.Reset(silence)
			h.take(ctx, m)
		case err := <-ended:
			return err
		case <-alone.C:
			return errSilence
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func read(ctx context.Context, in io.Reader, messages chan<- message) error {
	lines := newScanner(in)
	for lines.Scan() {
		var m message
		if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
			return fmt.Errorf("read a message: %w", err)
		}
		select {
		case messages <- m:
		case <-ctx.Done():
			return nil
		}
	}
	return lines.Err()
}

func (h *helper) take(ctx context.Context, m message) {
	if m.Call != "" {
		go h.answer(ctx, m)
		return
	}
	h.mu.Lock()
	s := h.streams[m.Stream]
	if m.End {
		delete(h.streams, m.Stream)
	}
	h.mu.Unlock()
	if s == nil {
		return // it has ended
	}
	if len(m.Data) > 0 {
		_, _ = s.Write(m.Data) // its reader tells the driver that it has ended
	}
	if m.End {
		_ = s.Close()
	}
}

// answer does a call.
func (h *helper) answer(ctx context.Context, m message) {
	answer := message{ID: m.ID}
	var result any
	err := fmt.Errorf("there is no call %q", m.Call)
	if f, ok := h.handles[m.Call]; ok {
		result, err = f(ctx, m.Args)
	}
	if err == nil && result != nil {
		answer.Result, err = json.Marshal(result)
	}
	if err != nil {
		answer.Error = err.Error()
	}
	_ = h.out.send(answer) // without a driver nothing matters
}

// clean ends and removes everything.
func (h *helper) clean() error {
	problems := []error{h.local.Clear()}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range h.listeners {
		_ = l.Close() // the folder goes
	}
	if h.ramDir != "" {
		problems = append(problems, os.RemoveAll(h.ramDir))
	}
	return errors.Join(append(problems, os.RemoveAll(h.dir))...)
}

func (h *helper) deviceName() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.device
}
