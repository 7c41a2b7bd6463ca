package metal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/lazymig/lazymig/bench/host"
	"github.com/lazymig/lazymig/bench/machine"
)

// call makes a handler of a function that takes arguments.
func call[A any](f func(context.Context, A) (any, error)) func(context.Context, json.RawMessage) (any, error) {
	return func(ctx context.Context, raw json.RawMessage) (any, error) {
		var args A
		if err := json.Unmarshal(raw, &args); err != nil {
			return nil, fmt.Errorf("read the arguments: %w", err)
		}
		return f(ctx, args)
	}
}

// errOnly is a handler that answers nothing else.
func errOnly[A any](f func(A) error) func(context.Context, json.RawMessage) (any, error) {
	return call(func(_ context.Context, args A) (any, error) { return nil, f(args) })
}

type nothing struct{}

// calls lists what a helper can do.
func (h *helper) calls() map[string]func(context.Context, json.RawMessage) (any, error) {
	return map[string]func(context.Context, json.RawMessage) (any, error){
		"facts": call(func(ctx context.Context, a factsArgs) (any, error) { return look(ctx, a.QEMU, h.dir, h.ramDir), nil }),
		"time":  call(func(context.Context, nothing) (any, error) { return time.Now().UnixNano(), nil }),
		"load":  call(func(context.Context, nothing) (any, error) { return machine.Describe("").Load1, nil }),

		"mkdir": errOnly(func(a fileArgs) error { return h.local.Mkdir(a.Path) }),
		"write": errOnly(h.write),
		"tail": call(func(_ context.Context, a fileArgs) (any, error) {
			return h.local.Tail(a.Path, min(a.Most, maxTail)), nil
		}),
		"allocated": call(func(_ context.Context, a fileArgs) (any, error) { return h.local.Allocated(a.Path) }),
		"remove":    errOnly(func(a fileArgs) error { return h.local.Remove(a.Path) }),

		"start": errOnly(h.start),
		"wait":  errOnly(h.wait),
		"kill":  errOnly(h.kill),
		"clear": errOnly(func(nothing) error { return h.local.Clear() }),

		"listen":      errOnly(h.listen),
		"accept":      call(func(_ context.Context, a socketArgs) (any, error) { return h.accept(a) }),
		"unlisten":    errOnly(h.unlisten),
		"dial":        errOnly(h.dial),
		"kill-caller": errOnly(func(a numberArgs) error { return h.withCaller(a.Number, host.Caller.Kill) }),
		"wait-caller": errOnly(func(a socketArgs) error {
			return h.withCaller(a.Number, func(c host.Caller) error { return c.Wait(a.Timeout) })
		}),

		"watch":    errOnly(func(nothing) error { return h.beginWatch() }),
		"exclude":  errOnly(func(a excludeArgs) error { return h.watched().Exclude(a.PID, a.VCPUs, a.Memory) }),
		"rebase":   errOnly(func(nothing) error { return h.watched().Rebase() }),
		"spent":    call(func(context.Context, nothing) (any, error) { return h.watched().Spent() }),
		"unwatch":  errOnly(func(nothing) error { return h.watched().Close() }),
		"route":    call(func(ctx context.Context, a routeArgs) (any, error) { return nil, h.route(ctx, a) }),
		"counters": call(func(context.Context, nothing) (any, error) { return h.local.Counters() }),

		"echo":    errOnly(h.beginEcho),
		"no-echo": errOnly(func(nothing) error { return h.endEcho() }),
		"reach":   errOnly(reach),
	}
}

func (h *helper) write(a fileArgs) error {
	if !a.Append {
		return h.local.Write(a.Path, a.Data, a.Mode)
	}
	f, err := os.OpenFile(a.Path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	end, err := f.Seek(0, io.SeekEnd)
	if err == nil && a.Hole > 0 {
		err = f.Truncate(end + a.Hole)
	}
	if err == nil && len(a.Data) > 0 {
		_, err = f.WriteAt(a.Data, end+a.Hole)
	}
	return errors.Join(err, f.Close())
}

// output sends what a program says as a stream.
type output struct {
	helper *helper
	number uint64
}

func (o output) Write(text []byte) (int, error) {
	for rest := text; len(rest) > 0; {
		part := rest[:min(len(rest), chunk)]
		if err := o.helper.out.send(message{Stream: o.number, Data: part}); err != nil {
			return 0, err
		}
		rest = rest[len(part):]
	}
	return len(text), nil
}

func (h *helper) start(a startArgs) error {
	c := host.Command{Args: a.Args, Log: a.Log}
	if a.Log == "" {
		c.Stdout, c.Stderr = output{h, a.Stdout}, output{h, a.Stderr}
	}
	p, err := h.local.Start(c)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.processes[a.Process] = p
	return nil
}

func (h *helper) process(number uint64) (*host.Process, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if p, ok := h.processes[number]; ok {
		return p, nil
	}
	return nil, fmt.Errorf("there is no process number %d", number)
}

// wait answers when a process has ended, and forgets it.
func (h *helper) wait(a numberArgs) error {
	p, err := h.process(a.Number)
	if err != nil {
		return err
	}
	<-p.Ended()
	h.mu.Lock()
	delete(h.processes, a.Number)
	h.mu.Unlock()
	return p.Err()
}

func (h *helper) kill(a numberArgs) error {
	if p, err := h.process(a.Number); err == nil {
		p.Kill()
	}
	return nil // it has ended, or never was
}

func (h *helper) listen(a socketArgs) error {
	l, err := h.local.Listen(a.Path)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.listeners[a.Number] = l
	return nil
}

// accept answers with the process that has come.
func (h *helper) accept(a socketArgs) (int, error) {
	h.mu.Lock()
	l := h.listeners[a.Number]
	h.mu.Unlock()
	if l == nil {
		return 0, net.ErrClosed
	}
	c, err := l.Accept()
	if err != nil {
		return 0, err
	}
	h.addStream(a.Stream, c)
	return c.PID(), nil
}

func (h *helper) unlisten(a numberArgs) error {
	h.mu.Lock()
	l := h.listeners[a.Number]
	delete(h.listeners, a.Number)
	h.mu.Unlock()
	if l == nil {
		return nil
	}
	return l.Close()
}

func (h *helper) dial(a socketArgs) error {
	conn, err := net.Dial("unix", a.Path)
	if err != nil {
		return err
	}
	h.addStream(a.Stream, conn)
	return nil
}

// addStream sends what comes from a connection. What comes from the driver for
// it is written by take.
func (h *helper) addStream(number uint64, conn io.ReadWriteCloser) {
	h.mu.Lock()
	h.streams[number] = conn
	h.mu.Unlock()
	go func() {
		_, _ = io.Copy(output{h, number}, conn) // the end is all that counts
		_ = h.out.send(message{Stream: number, End: true})
	}()
}

func (h *helper) withCaller(number uint64, do func(host.Caller) error) error {
	h.mu.Lock()
	c, ok := h.streams[number].(host.Caller)
	h.mu.Unlock()
	if !ok {
		return nil // it has gone
	}
	return do(c)
}

func (h *helper) beginWatch() error {
	w, err := h.local.Watch()
	if err != nil {
		return err
	}
	h.mu.Lock()
	former := h.watch
	h.watch = w
	h.mu.Unlock()
	if former == nil {
		return nil
	}
	return former.Close()
}

// watched returns the watch; one that sees nothing if there is none.
func (h *helper) watched() host.Watch {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.watch == nil {
		h.watch, _ = host.Here().Watch() // never fails
	}
	return h.watch
}

func (h *helper) route(ctx context.Context, a routeArgs) error {
	name, err := device(ctx, a.Address)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.device = name
	return nil
}

func (h *helper) beginEcho(a reachArgs) error {
	e, err := newEcho(a)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.echo = e
	return nil
}

func (h *helper) endEcho() error {
	h.mu.Lock()
	e := h.echo
	h.echo = nil
	h.mu.Unlock()
	if e == nil {
		return nil
	}
	return e.close()
}
