package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/lazymig/lazymig/internal/metrics"
	"github.com/lazymig/lazymig/internal/migrate"
)

// Exit codes of the processes themselves. Others are those of the job.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// errCancelled is the cause of the end of a job's context.
var errCancelled = errors.New("cancelled")

// Runner does a job. publish tells the watchers about it, with a value that
// marshals to a JSON object whose "event" is kind; it does not wait for
// anybody. The end of ctx is the user's Ctrl-C: whether there is a way back is
// the runner's to judge, and it may go on for as long as it has to.
type Runner func(ctx context.Context, job Job, publish func(kind string, event any)) Exit

// Engine is the whole of an engine process: it takes its job from the process
// that started it, runs it, and serves everybody who wants to follow or cancel
// it. It returns the exit code.
func Engine(run Runner) int {
	starter, err := inherited()
	if err != nil {
		fmt.Fprintln(os.Stderr, "lazymig: error:", err)
		return exitUsage
	}
	job, reader, err := readJob(starter)
	if err != nil {
		return refuse(starter, err)
	}
	setUp(&job)
	dir, err := migrate.VMDir(job.StateDir, job.VM)
	if err != nil {
		return refuse(starter, err)
	}
	socket, err := listen(dir)
	if err != nil {
		return refuse(starter, err)
	}
	exporter, err := startMetrics(job)
	if err != nil {
		socket.close()
		return refuse(starter, err)
	}
	e := &engine{hub: newHub(job), log: newEventLog(), socket: socket, metrics: exporter}
	if e.profiles, err = startProfiles(job); err != nil {
		e.endMetrics()
		socket.close()
		return refuse(starter, err)
	}
	return e.serve(run, job, starter, reader).Code
}

// engine is a running engine process.
type engine struct {
	hub    *hub
	log    *eventLog
	socket *socket
	// metrics is nil unless the job asks for it.
	metrics  *metrics.Server
	profiles *profiles // nil unless the job asks for them
	cancel   context.CancelCauseFunc
	served   sync.WaitGroup // the goroutines that read from clients
}

// readJob reads the first line from the process that started the engine. What
// it has read beyond stays in the reader.
func readJob(starter *net.UnixConn) (Job, *bufio.Reader, error) {
	var job Job
	reader := bufio.NewReader(starter)
	if err := starter.SetReadDeadline(time.Now().Add(jobTimeout)); err != nil {
		return job, nil, fmt.Errorf("bound the wait for a job: %w", err)
	}
	line, err := readLine(reader)
	if err != nil {
		return job, nil, fmt.Errorf("read the job: %w", err)
	}
	if err := json.Unmarshal(line, &job); err != nil {
		return job, nil, fmt.Errorf("parse the job: %w", err)
	}
	return job, reader, starter.SetReadDeadline(time.Time{})
}

// refuse ends an engine that cannot take its job.
func refuse(starter *net.UnixConn, err error) int {
	slog.Error("refused a job", "error", err)
	line, _ := marshalLine(exitFor(exitUsage, err)) // a struct of strings
	if _, err := starter.Write(line); err != nil {
		slog.Error("told nobody", "error", err)
	}
	starter.Close()
	return exitUsage
}

// exitFor describes an error, with the hint of the first error in its chain
// that has one.
func exitFor(code int, err error) Exit {
	exit := Exit{Event: LineExit, Code: code}
	if err != nil {
		exit.Error = err.Error()
	}
	if hinter, ok := errors.AsType[interface {
		error
		Hint() string
	}](err); ok {
		exit.Hint = hinter.Hint()
	}
	return exit
}

// setUp prepares the process for the job.
func setUp(job *Job) {
	before, err := Harden()
	if err != nil {
		slog.Warn("memory pressure may end this engine", "error", err)
	}
	job.OOMScoreAdj = before
}

// Harden prepares a process on which guests depend: it gets enough processors
// of Go's, and the kernel spares it when memory is short. It returns the score
// for the out-of-memory killer from before; an error of that is no reason to
// stop.
func Harden() (oomScoreAdj int, err error) {
	runtime.GOMAXPROCS(max(procsPerCore*runtime.NumCPU(), minProcs))
	return protect()
}

// serve runs the job and ends when the job has and everybody knows.
func (e *engine) serve(run Runner, job Job, starter *net.UnixConn, reader *bufio.Reader) Exit {
	hangups := make(chan os.Signal, 1) // unread: to ignore them would be inherited by a VMM
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	ctx, e.cancel = context.WithCancelCause(ctx)
	defer e.cancel(nil)

	e.serveClient(starter, reader)
	e.served.Go(e.serveAccepts)
	slog.Info("begin", "kind", job.Kind, "vm", job.VM, "pid", os.Getpid())
	e.tellMetrics()
	e.tellProfiles()
	exit := run(ctx, job, e.publish)
	exit.Event = LineExit
	// First, since who hears the last word may start the next engine at once.
	e.socket.close()
	e.endMetrics()
	e.endProfiles()
	e.publish(LineExit, exit)
	e.hub.close()
	e.served.Wait()
	e.log.close()
	return exit
}

// publish tells all clients and the log.
func (e *engine) publish(kind string, event any) {
	line, err := marshalLine(event)
	if err != nil {
		slog.Error("publish", "kind", kind, "error", err)
		return
	}
	e.hub.publish(kind, line)
	e.observe(event)
	if kind != lineProgress && kind != lineMap { // the log is for what happens once
		e.log.add(kind, line)
	}
}

// serveAccepts takes clients until the socket is closed.
func (e *engine) serveAccepts() {
	for {
		conn, err := e.socket.listener.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			slog.Error("accept a client", "error", err)
			return
		}
		e.serveClient(conn, bufio.NewReader(conn))
	}
}

// serveClient gives conn every line from now on and obeys its requests.
func (e *engine) serveClient(conn *net.UnixConn, reader *bufio.Reader) {
	c, err := e.hub.join(conn)
	if err != nil {
		slog.Warn("turned a client away", "error", err)
		conn.Close()
		return
	}
	e.served.Go(func() { e.serveRequests(c, reader) })
}

// serveRequests obeys one client until it goes. That it goes changes nothing.
func (e *engine) serveRequests(c *client, reader *bufio.Reader) {
	defer e.hub.leave(c)
	for {
		line, err := readLine(reader)
		if err != nil {
			return
		}
		var r request
		if json.Unmarshal(line, &r) != nil || r.Signal != signalCancel {
			slog.Warn("a client asks for something unknown", "line", string(line))
			return
		}
		slog.Info("cancel")
		if err := e.hub.answer(c); err != nil { // before the engine can have ended
			slog.Error("answer a cancel", "error", err)
		}
		e.cancel(errCancelled)
	}
}

// readLine returns the next line without its end. It aliases no buffer and has
// at most maxLine bytes.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case err == nil:
			return line[:len(line)-1], nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		case len(line) > maxLine:
			return nil, fmt.Errorf("read a line: it has more than %d bytes", maxLine)
		}
	}
}
