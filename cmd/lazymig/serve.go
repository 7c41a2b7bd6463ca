package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/internal/migrate"
	"github.com/lazymig/lazymig/internal/vmm/firecracker"
	"github.com/lazymig/lazymig/quictransport"
	"github.com/spf13/pflag"
)

// serveFlags are the flags that serve-memory and serve-uffd share: those of
// send and receive that have nothing to do with a VM's state.
type serveFlags struct{ sideFlags }

func (f *serveFlags) register(set *pflag.FlagSet) {
	registerTLSDir(set, &f.tlsDir)
	set.BoolVar(&f.insecure, "insecure-loopback", false, "no identities; only between addresses of this machine")
	set.StringVar(&f.peer, "peer", "", "accept only the peer whose certificate has this `NAME`")
	registerJSON(set, &f.json)
	set.StringVar(&f.logFormat, "log-format", "text", "write messages as `text|json`")
}

// check checks the shared flags; address is the value of the named flag.
func (f *serveFlags) check(flag, address string) error {
	if err := f.checkLogFormat(); err != nil {
		return err
	}
	if err := f.checkAddress(flag, address); err != nil {
		return err
	}
	return f.checkIdentity()
}

func (f *serveFlags) identity() (*quictransport.Identity, error) {
	load := func() (*quictransport.Identity, error) { return quictransport.LoadIdentity(f.tlsDir) }
	if f.insecure {
		load = quictransport.InsecureLoopback
	}
	identity, err := load()
	if err == nil && f.cacheKey != "" {
		identity.DomainKey, err = quictransport.LoadDomainKey(f.cacheKey)
	}
	if err != nil {
		return nil, failed(exitUsage, err, "")
	}
	return identity, nil
}

// serveFailed gives an error of a service its exit code.
func serveFailed(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, migrate.ErrConfig), errors.Is(err, quictransport.ErrConfig):
		return failed(exitUsage, err, "")
	case errors.Is(err, firecracker.ErrInUse), errors.Is(err, firecracker.ErrNotSocket):
		return failed(exitFailed, err, "give another path with --socket, or remove what is there")
	case errors.Is(err, os.ErrPermission):
		return failed(exitFailed, err, hintOr(err, "run as root"))
	case errors.Is(err, migrate.ErrMemoryGone):
		return failed(exitFailed, err, hintOr(err, "restore from a snapshot that nobody writes to"))
	}
	return failed(exitFailed, err, "")
}

// hintOr returns the hint of an error, or another one.
func hintOr(err error, other string) string {
	if hint := hintOf(err); hint != "" {
		return hint
	}
	return other
}

// serveDisplay shows what a service tells: JSON lines on standard output, or
// messages on standard error. Its methods may be called from any goroutine.
type serveDisplay struct {
	app  *app
	json bool
	who  string // who is served: "client" or "VMM"

	mu      sync.Mutex // protects what follows
	display *display
	meters  map[int]*meter    // of the VMMs, by process
	shown   map[int]time.Time // when each was last shown
}

func (a *app) newServeDisplay(json bool, logFormat, who string) *serveDisplay {
	return &serveDisplay{
		app: a, json: json, who: who, display: newDisplay(a.err, false, logFormat == "json"),
		meters: map[int]*meter{}, shown: map[int]time.Time{},
	}
}

// say shows a message of the command itself.
func (d *serveDisplay) say(text string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.display.say(text)
}

func (d *serveDisplay) event(e migrate.ServeEvent) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.json {
		if line, err := json.Marshal(e); err == nil { // it has nothing that cannot be written
			fmt.Fprintf(d.app.out, "%s\n", line)
		}
		return
	}
	switch e.Event {
	case migrate.EventListening:
		d.display.say("listening at " + e.Address)
	case migrate.EventAttached:
		d.display.say(d.name(e) + " is here")
		d.meters[e.PID], d.shown[e.PID] = &meter{}, e.Time
	case migrate.EventProgress:
		d.progress(e)
	case migrate.EventComplete:
		d.display.say(d.name(e) + " has all of its memory and needs nobody any more")
	case migrate.EventDetached:
		delete(d.meters, e.PID)
		delete(d.shown, e.PID)
		d.detached(e)
	case migrate.EventMessage:
		if e.PID != 0 {
			e.Message = d.name(e) + ": " + e.Message
		}
		d.display.say(e.Message)
	}
}

// progress shows how far a VMM is, every few seconds.
func (d *serveDisplay) progress(e migrate.ServeEvent) {
	m := d.meters[e.PID]
	if m == nil {
		return
	}
	m.update(e.Time, *e.Progress)
	if e.Time.Sub(d.shown[e.PID]) >= plainInterval {
		d.shown[e.PID] = e.Time
		d.display.say(fmt.Sprintf("%s: %s", d.name(e), m))
	}
}

func (d *serveDisplay) name(e migrate.ServeEvent) string {
	if e.PID != 0 {
		return fmt.Sprintf("%s %d", d.who, e.PID)
	}
	return fmt.Sprintf("%s %s at %s", d.who, e.Peer, e.Address)
}

// detached tells how somebody was served.
func (d *serveDisplay) detached(e migrate.ServeEvent) {
	s := e.Served
	if e.PID == 0 {
		d.display.say(fmt.Sprintf("%s has gone after %s, %s were sent", d.name(e), took(s.TotalMS), bytesText(s.BytesSent)))
		return
	}
	switch s.Outcome {
	case migrate.ServeKilled:
		d.display.say(fmt.Sprintf("%s was killed: %s", d.name(e), s.Reason))
		return
	case migrate.ServeEnded:
		d.display.say(fmt.Sprintf("%s has ended before all of its memory was in", d.name(e)))
		return
	case migrate.ServeComplete:
	}
	d.display.say(fmt.Sprintf("%s: %s in %s, %d pages on demand, %d in the background",
		d.name(e), bytesText(s.PagesTotal*lazymig.PageSize), took(s.TotalMS), s.PagesDemand, s.PagesBulk))
	if f := s.FaultUS.Remote; f.Count > 0 {
		d.display.say(fmt.Sprintf("%s waited %d times: %s ms median, p99 %s ms, max %s ms",
			d.name(e), f.Count, milliseconds(f.P50), milliseconds(f.P99), milliseconds(f.Max)))
	}
}

// signalSteps calls one function for each signal that ends a command.
type signalSteps struct {
	signals chan os.Signal
	quit    chan struct{}
	wait    sync.WaitGroup
}

func newSignalSteps() *signalSteps {
	s := &signalSteps{signals: make(chan os.Signal, 4), quit: make(chan struct{})}
	signal.Notify(s.signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	return s
}

// then starts to wait for signals. What is sent after the last step is
// ignored.
func (s *signalSteps) then(steps ...func()) {
	s.wait.Go(func() {
		for _, step := range steps {
			select {
			case <-s.signals:
				step()
			case <-s.quit:
				return
			}
		}
	})
}

func (s *signalSteps) stop() {
	close(s.quit)
	s.wait.Wait()
	signal.Stop(s.signals)
}
