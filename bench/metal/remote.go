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
	"github.com/lazymig/lazymig/bench/link"
)

// Remote is a machine with a helper.
type Remote struct {
	name, address string
	dir           string // of this machine, for sockets
	facts         Facts
	files         string // the image of files there, if it has one; its Hosts' alone
	out           *writer
	hangUp        func() error // ends the connection and waits
	said          fmt.Stringer // what ssh says of it
	lost          context.Context
	lose          context.CancelCauseFunc
	done          chan struct{} // closed when serve has ended
	pinged        chan struct{} // closed when servePings has ended
	reaching      sync.WaitGroup
	closing       sync.Once
	closed        error

	mu    sync.Mutex // protects all below
	last  uint64     // number
	calls map[uint64]chan message
	sinks map[uint64]io.WriteCloser
}

var _ host.Host = (*Remote)(nil)

// errLost is what everything fails with when a helper or the way to it is gone.
var errLost = errors.New("the connection is lost")

// newRemote returns a machine whose helper has said hello; in has what follows,
// hangUp ends it.
func newRemote(name string, in io.Reader, out io.Writer, dir string, said fmt.Stringer, hangUp func() error) *Remote {
	r := &Remote{
		name: name, dir: dir, out: &writer{out: out}, said: said, hangUp: hangUp,
		done: make(chan struct{}), pinged: make(chan struct{}),
		calls: map[uint64]chan message{}, sinks: map[uint64]io.WriteCloser{},
	}
	r.lost, r.lose = context.WithCancelCause(context.Background())
	go r.serve(in)
	go r.servePings()
	return r
}

// serve takes what the helper sends.
func (r *Remote) serve(in io.Reader) {
	defer close(r.done)
	lines := newScanner(in)
	for lines.Scan() {
		var m message
		if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
			r.end(fmt.Errorf("%w: it says %.80q", errLost, lines.Bytes()))
			return
		}
		r.take(m)
	}
	r.end(errLost)
}

func (r *Remote) take(m message) {
	r.mu.Lock()
	answer, sink := r.calls[m.ID], r.sinks[m.Stream]
	delete(r.calls, m.ID)
	if m.End {
		delete(r.sinks, m.Stream)
	}
	r.mu.Unlock()
	if m.ID != 0 && answer != nil {
		answer <- m // has room
		return
	}
	if sink == nil {
		return // nobody wants it any more
	}
	if len(m.Data) > 0 {
		_, _ = sink.Write(m.Data) // its reader may have gone
	}
	if m.End {
		_ = sink.Close()
	}
}

// end ends all calls and streams.
func (r *Remote) end(cause error) {
	if text := r.said.String(); text != "" {
		cause = fmt.Errorf("%w: %s", cause, text)
	}
	r.lose(cause)
	r.mu.Lock()
	sinks := r.sinks
	r.sinks = map[uint64]io.WriteCloser{}
	r.mu.Unlock()
	for _, s := range sinks {
		_ = s.Close()
	}
}

// servePings tells the helper that it is wanted, and finds out if it is gone.
func (r *Remote) servePings() {
	defer close(r.pinged)
	tick := time.NewTicker(pingPeriod)
	defer tick.Stop()
	for {
		select {
		case <-r.lost.Done():
			return
		case <-tick.C:
		}
		if err := r.callFor(silence, "time", nothing{}, nil); err != nil {
			r.end(fmt.Errorf("%w: %w", errLost, err))
			return
		}
	}
}

func (r *Remote) number() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last++
	return r.last
}

// addSink gives a new stream a place for what comes. What is lost already
// brings nothing.
func (r *Remote) addSink(to io.WriteCloser) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last++
	if r.lost.Err() != nil {
		_ = to.Close()
		return r.last
	}
	r.sinks[r.last] = to
	return r.last
}

func (r *Remote) dropSink(number uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.sinks, number)
}

func (r *Remote) send(m message) error {
	if err := r.out.send(m); err != nil {
		return fmt.Errorf("%s: %w: %w", r.name, errLost, err)
	}
	return nil
}

// call calls the helper, which answers at once.
func (r *Remote) call(name string, args, result any) error {
	return r.callFor(callTimeout, name, args, result)
}

// callFor is call with another bound for the answer, or none for 0.
func (r *Remote) callFor(timeout time.Duration, name string, args, result any) error {
	answer, err := r.exchange(timeout, name, args)
	if err != nil {
		return fmt.Errorf("%s: %s: %w", r.name, name, err)
	}
	if answer.Error != "" {
		return fmt.Errorf("%s: %s", r.name, answer.Error)
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(answer.Result, result); err != nil {
		return fmt.Errorf("%s: read the answer of %s: %w", r.name, name, err)
	}
	return nil
}

func (r *Remote) exchange(timeout time.Duration, name string, args any) (message, error) {
	raw, err := json.Marshal(args)
	if err != nil {
		return message{}, err
	}
	ctx := r.lost
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	answer := make(chan message, 1)
	number := r.number()
	r.mu.Lock()
	r.calls[number] = answer
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		delete(r.calls, number)
		r.mu.Unlock()
	}()
	if err := r.out.send(message{ID: number, Call: name, Args: raw}); err != nil {
		return message{}, fmt.Errorf("%w: %w", errLost, err)
	}
	select {
	case m := <-answer:
		return m, nil
	case <-ctx.Done():
		return message{}, context.Cause(ctx)
	}
}

// Lost returns why the helper is gone, nil while it is there.
func (r *Remote) Lost() error {
	if r.lost.Err() == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", r.name, context.Cause(r.lost))
}

// unlessLost returns an error of cleaning up, nil if the helper is gone: it
// has cleaned up itself then.
func (r *Remote) unlessLost(err error) error {
	if errors.Is(err, errLost) || r.lost.Err() != nil {
		return nil
	}
	return err
}

func (r *Remote) whenLost(f func()) (stop func() bool) { return context.AfterFunc(r.lost, f) }

// Close has the helper end and clean up. It is safe to call more than once.
func (r *Remote) Close() error {
	r.closing.Do(func() {
		r.closed = r.hangUp()
		<-r.done
		<-r.pinged
		r.reaching.Wait()
		r.closed = errors.Join(r.closed, os.RemoveAll(r.dir))
	})
	return r.closed
}

// Name returns how ssh calls the machine, Address where the other one reaches it.
func (r *Remote) Name() string    { return r.name }
func (r *Remote) Address() string { return r.address }

// Mkdir makes a folder.
func (r *Remote) Mkdir(path string) error { return r.call("mkdir", fileArgs{Path: path}, nil) }

// Tail returns the end of a file.
func (r *Remote) Tail(path string, most int) string {
	var text string
	_ = r.call("tail", fileArgs{Path: path, Most: most}, &text) // then it is empty
	return text
}

// Allocated returns how much a file has.
func (r *Remote) Allocated(path string) (bytes uint64, err error) {
	err = r.call("allocated", fileArgs{Path: path}, &bytes)
	return bytes, err
}

// Remove removes what matches.
func (r *Remote) Remove(pattern string) error {
	return r.unlessLost(r.call("remove", fileArgs{Path: pattern}, nil))
}

// Clear ends all processes.
func (r *Remote) Clear() error { return r.unlessLost(r.call("clear", nothing{}, nil)) }

// Counters returns what went over the network card.
func (r *Remote) Counters() (c link.Counters, err error) {
	err = r.call("counters", nothing{}, &c)
	return c, err
}

// sink is a writer that needs no Close.
type sink struct{ io.Writer }

func (sink) Close() error { return nil }

// Start starts a program.
func (r *Remote) Start(c host.Command) (*host.Process, error) {
	a := startArgs{Process: r.number(), Args: c.Args, Log: c.Log}
	if c.Log == "" {
		a.Stdout, a.Stderr = r.addSink(sink{c.Stdout}), r.addSink(sink{c.Stderr})
	}
	forget := func() {
		r.dropSink(a.Stdout)
		r.dropSink(a.Stderr)
	}
	if err := r.call("start", a, nil); err != nil {
		forget()
		return nil, err
	}
	wait := func() error {
		defer forget()
		return r.callFor(0, "wait", numberArgs{a.Process}, nil)
	}
	kill := func() { _ = r.call("kill", numberArgs{a.Process}, nil) } // it may have ended
	return host.NewProcess(wait, kill), nil
}

// Watch begins to watch.
func (r *Remote) Watch() (host.Watch, error) {
	return watch{r}, r.call("watch", nothing{}, nil)
}

// watch is the helper's.
type watch struct{ remote *Remote }

func (w watch) Exclude(pid int, vcpus []int, memory uint64) error {
	return w.remote.call("exclude", excludeArgs{PID: pid, VCPUs: vcpus, Memory: memory}, nil)
}

func (w watch) Rebase() error { return w.remote.call("rebase", nothing{}, nil) }

func (w watch) Spent() (s host.Spent, err error) {
	err = w.remote.call("spent", nothing{}, &s)
	return s, err
}

func (w watch) Close() error {
	return w.remote.unlessLost(w.remote.call("unwatch", nothing{}, nil))
}

// Clock compares the clocks by the round trip that took least: the other clock
// was read at some time in it.
func (r *Remote) Clock() (host.Clock, error) {
	var best host.Clock
	for n := range clockRounds {
		sent := time.Now()
		var there int64
		if err := r.call("time", nothing{}, &there); err != nil {
			return host.Clock{}, err
		}
		way := time.Since(sent) / 2
		if n == 0 || way < best.Bound {
			best = host.Clock{Offset: time.Unix(0, there).Sub(sent.Add(way).Round(0)), Bound: way}
		}
	}
	return best, nil
}
