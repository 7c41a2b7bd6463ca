package migrate

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lazymig/lazymig/internal/vmm/firecracker"
	"github.com/lazymig/lazymig/pagecache"
	"github.com/lazymig/lazymig/quictransport"
)

// ServeFaultsConfig says where VMMs hand their memory over, and where its
// content is. Exactly one of From and Memory is set.
type ServeFaultsConfig struct {
	// Socket is the path of the UNIX socket that VMMs connect to.
	Socket string
	// From is a memory server, "HOST:PORT".
	From string
	// Memory is the path of a memory file of this host.
	Memory string
	// Identity authenticates this host to the server at From.
	Identity *quictransport.Identity
	// Peer narrows the server to one certificate name. Empty: any name that
	// the CA has certified.
	Peer string
	// Cache is what this host has already, and keeps of what comes from a
	// server. Nil: no cache.
	Cache PageCache
	// OnDemand leaves the background out: a VMM gets only the pages that it
	// touches, and is served until it ends.
	OnDemand bool
	// Once ends the service with that of the first VMM.
	Once bool
	// Abandon, if it is closed, kills the VMMs that have pages missing. Nil:
	// they are served for as long as it takes.
	Abandon <-chan struct{}
	// Report is called for each event, one at a time. It must not block.
	Report func(ServeEvent)
}

func (c ServeFaultsConfig) validate() error {
	switch {
	case c.Socket == "":
		return fmt.Errorf("%w: Socket is required", ErrConfig)
	case (c.From == "") == (c.Memory == ""):
		return fmt.Errorf("%w: one of From and Memory is required", ErrConfig)
	case c.From != "" && c.Identity == nil:
		return fmt.Errorf("%w: From needs an Identity", ErrConfig)
	}
	return nil
}

// faultServer serves all VMMs that come to one socket.
type faultServer struct {
	cfg    ServeFaultsConfig
	report func(ServeEvent)
	local  *snapshot     // or nil
	remote *remoteMemory // or nil
	size   uint64        // of the memory, bytes
	cache  PageCache     // nil: none that knows these pages
	hung   atomic.Bool   // its storage hangs: new VMMs go without it
	filter []byte        // of the cache

	mu     sync.Mutex // protects what follows; a leaf
	served uint64
	killed uint64
	failed error // why the last VMM had to be killed
}

// ServeFaults serves the memory of every VMM that hands it over at the socket,
// each in a session of its own, from a memory server or a file. When ctx ends
// no more VMMs are taken, and those that are there are served to their end. A
// VMM whose memory cannot be had for good is killed; the error says so with
// Once, otherwise only its event does.
//
// This process must not be killed while a VMM has pages missing: the VMM would
// stall on them for ever, and nobody can take over.
func ServeFaults(ctx context.Context, cfg ServeFaultsConfig) error {
	if err := cfg.validate(); err != nil {
		return err
	}
	s := &faultServer{cfg: cfg, report: serially(cfg.Report)}
	start := time.Now()
	err := s.run(ctx)
	report := ServeReport{
		Served: s.served, Killed: s.killed,
		TotalMS: milliseconds(time.Since(start)), CPUSeconds: cpuSeconds(),
	}
	if err != nil {
		report.Reason = err.Error()
	}
	s.report(ServeEvent{Event: EventReport, Report: &report})
	return err
}

func (s *faultServer) run(ctx context.Context) (err error) {
	if err := s.open(ctx); err != nil {
		return err
	}
	if s.local != nil {
		defer func() { err = errors.Join(err, s.local.close()) }()
	}
	listener, err := firecracker.Listen(s.cfg.Socket)
	if err != nil {
		return err
	}
	s.report(ServeEvent{Event: EventListening, Address: s.cfg.Socket})
	var accepts, sessions sync.WaitGroup
	free := make(chan struct{}, maxClients)
	workers := handoffAccepts
	if s.cfg.Once {
		workers = 1
	}
	for range workers {
		accepts.Go(func() { s.serveHandoffs(ctx, listener, free, &sessions) })
	}
	accepts.Wait()
	err = listener.Close()
	sessions.Wait()
	if s.cfg.Once {
		err = errors.Join(s.failed, err)
	}
	return err
}

// open finds the memory, so that what is wrong with it shows before a VMM
// depends on it.
func (s *faultServer) open(ctx context.Context) (err error) {
	if s.cfg.Memory != "" {
		s.local, err = openSnapshot(s.cfg.Memory, func(err error) { s.message(0, err.Error()) })
		if err == nil {
			s.size = s.local.size
		}
		return err
	}
	if s.remote, err = findMemory(ctx, s.cfg); err != nil {
		return fmt.Errorf("find the memory at %s: %w", s.cfg.From, err)
	}
	s.size = s.remote.memory.Bytes
	if s.cfg.Cache == nil {
		return nil
	}
	if s.remote.key != pagecache.Key(s.cfg.Identity.DomainKey) {
		s.message(0, "goes without the cache of this host: the server has another --cache-key")
		return nil
	}
	s.cache = s.cfg.Cache
	if s.filter, err = filterOf(s.cache); err != nil {
		s.message(0, fmt.Sprintf("goes without the pages of the cache: %v", err))
	}
	return nil
}

// serveHandoffs takes VMMs until ctx ends, or one with Once. Those over the
// bound wait in the socket's queue.
func (s *faultServer) serveHandoffs(ctx context.Context, listener *firecracker.Listener, free chan struct{}, sessions *sync.WaitGroup) {
	for {
		select {
		case free <- struct{}{}:
		case <-ctx.Done():
			return
		}
		vmm, err := listener.Accept(ctx)
		if err == nil {
			sessions.Go(func() {
				defer func() { <-free }()
				s.serve(vmm)
			})
			if s.cfg.Once {
				return
			}
			continue
		}
		<-free
		if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return
		}
		refused, ok := errors.AsType[*firecracker.RefusedError](err)
		if ok {
			s.message(refused.PID, err.Error())
			continue
		}
		s.message(0, err.Error())
		if pauseFor(ctx, acceptPause) != nil {
			return
		}
	}
}

// serve serves one VMM to its end.
func (s *faultServer) serve(vmm *firecracker.Handoff) {
	start := time.Now()
	s.report(ServeEvent{Event: EventAttached, PID: vmm.PID})
	f := newFaultSession(s, vmm)
	served := f.run()
	served.TotalMS = milliseconds(time.Since(start))
	s.mu.Lock()
	s.served++
	if served.Outcome == ServeKilled {
		s.killed++
		s.failed = fmt.Errorf("process %d was killed: %s", vmm.PID, served.Reason)
	}
	s.mu.Unlock()
	s.report(ServeEvent{Event: EventDetached, PID: vmm.PID, Served: &served})
}

// feeds returns what opens feeds for the VMM pid.
func (s *faultServer) feeds(say func(string)) (openFeed, error) {
	if s.local != nil {
		return fileFeeds(s.local), nil
	}
	return s.remote.feeds(say)
}

// message tells the operator something, about a VMM unless pid is 0.
func (s *faultServer) message(pid int, text string) {
	s.report(ServeEvent{Event: EventMessage, PID: pid, Message: text})
}
