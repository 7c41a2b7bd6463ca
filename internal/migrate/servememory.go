package migrate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/internal/wire"
	"github.com/lazymig/lazymig/pagecache"
	"github.com/lazymig/lazymig/quictransport"
)

// ServeMemoryConfig says which memory to serve, and where.
type ServeMemoryConfig struct {
	// Listen is the address to wait for clients at, "HOST:PORT".
	Listen string
	// Memory is the path of the memory file of a snapshot.
	Memory string
	// Identity authenticates this host.
	Identity *quictransport.Identity
	// Peer narrows the clients to one certificate name. Empty: any name that
	// the CA has certified.
	Peer string
	// Bandwidth bounds the background of each client, in bytes per second. 0:
	// no bound.
	Bandwidth uint64
	// Report is called for each event, one at a time. It must not block.
	Report func(ServeEvent)

	// memory, if set, stands before the file: tests break pages. key, if set,
	// is not that of the clients: tests damage them.
	memory func(SourceMemory) SourceMemory
	key    *pagecache.Key
}

// memoryServer serves one snapshot to many clients. Each client has a link and
// a goroutine of its own beside those of the page server; nothing is kept of
// one that has gone.
type memoryServer struct {
	cfg      ServeMemoryConfig
	memory   *snapshot
	listener *quictransport.Listener
	pages    *pageServer
	report   func(ServeEvent)

	alarm chan struct{} // closed when the memory has changed

	mu      sync.Mutex // protects what follows; a leaf
	clients map[*quictransport.Link]struct{}
	served  uint64
	gone    error
}

// ServeMemory serves the pages of a memory file to all clients that come, until
// ctx ends. Nothing is ever written. If the file changes, all clients are told
// that their memory is gone, new ones are refused, and the error wraps
// ErrMemoryGone once ctx has ended.
func ServeMemory(ctx context.Context, cfg ServeMemoryConfig) error {
	if cfg.Listen == "" || cfg.Memory == "" || cfg.Identity == nil {
		return fmt.Errorf("%w: Listen, Memory and Identity are required", ErrConfig)
	}
	m := &memoryServer{cfg: cfg, report: serially(cfg.Report), alarm: make(chan struct{}), clients: map[*quictransport.Link]struct{}{}}
	start := time.Now()
	err := m.run(ctx)
	report := ServeReport{Served: m.served, TotalMS: milliseconds(time.Since(start)), CPUSeconds: cpuSeconds()}
	if err != nil {
		report.Reason = err.Error()
	}
	m.report(ServeEvent{Event: EventReport, Report: &report})
	return err
}

// serially makes report take one event at a time, with the time set.
func serially(report func(ServeEvent)) func(ServeEvent) {
	if report == nil {
		return func(ServeEvent) {}
	}
	var mu sync.Mutex // one event at a time
	return func(e ServeEvent) {
		mu.Lock()
		defer mu.Unlock()
		e.Time = time.Now()
		report(e)
	}
}

func (m *memoryServer) run(ctx context.Context) (err error) {
	if m.memory, err = openSnapshot(m.cfg.Memory, m.changed); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.memory.close()) }()
	m.listener, err = quictransport.Listen(m.cfg.Listen, m.cfg.Identity, quictransport.Config{
		Purpose: wire.PurposeMemory, Peer: m.cfg.Peer,
		Rejected: func(remote net.Addr, err error) { m.message(fmt.Sprintf("turned %s away: %v", remote, err)) },
	})
	if err != nil {
		return err
	}
	layout := m.memory.layout()
	lost := &poisonList{layout: layout, pages: map[lazymig.PageNumber]struct{}{}}
	memory, key := SourceMemory(m.memory), pagecache.Key(m.cfg.Identity.DomainKey)
	if m.cfg.memory != nil {
		memory = m.cfg.memory(memory)
	}
	if m.cfg.key != nil {
		key = *m.cfg.key
	}
	m.pages = newPageServer(layout, memory, lost, key, m.cfg.Bandwidth)
	m.pages.open()
	m.pages.cede()
	var wait sync.WaitGroup
	wait.Go(func() { m.serveLinks(ctx, &wait) })
	m.report(ServeEvent{Event: EventListening, Address: m.listener.Addr().String()})
	m.watch(ctx)
	err = m.listener.Close() // ends all links
	wait.Wait()
	m.pages.close()
	m.mu.Lock()
	defer m.mu.Unlock()
	return errors.Join(m.gone, err)
}

// watch looks at the file even if nobody asks for its pages, and tells all
// clients when it has changed.
func (m *memoryServer) watch(ctx context.Context) {
	look := time.NewTicker(memoryLook)
	defer look.Stop()
	alarm := m.alarm
	for {
		select {
		case <-look.C:
			if err := m.memory.check(); err != nil && !errors.Is(err, ErrMemoryGone) {
				m.message(err.Error())
			}
		case <-alarm:
			alarm = nil
			m.expel()
		case <-ctx.Done():
			return
		}
	}
}

// changed is called once, by whoever sees first that the memory has changed.
func (m *memoryServer) changed(err error) {
	m.mu.Lock()
	m.gone = err
	m.mu.Unlock()
	close(m.alarm)
}

// expel tells all clients that their memory is gone. No new ones join.
func (m *memoryServer) expel() {
	m.mu.Lock()
	err := m.gone
	clients := slices.Collect(maps.Keys(m.clients))
	m.mu.Unlock()
	m.message(fmt.Sprintf("%v; all clients are told, and nobody is served any more", err))
	for _, link := range clients {
		closeLink(link, err)
	}
}

// serveLinks takes links until the listener is closed or ctx ends.
func (m *memoryServer) serveLinks(ctx context.Context, wait *sync.WaitGroup) {
	for {
		link, _, err := m.listener.Accept(ctx, m.welcome)
		if err != nil {
			return
		}
		wait.Go(func() { m.serveClient(link) })
	}
}

// welcome decides whether a client may come in.
func (m *memoryServer) welcome(wire.Hello, string) (wire.Welcome, error) {
	if err := m.memory.check(); err != nil {
		return wire.Welcome{}, &quictransport.RefusedError{Code: codeFor(err), Text: err.Error(), Hint: goneHint}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.clients) >= maxClients {
		return wire.Welcome{}, &quictransport.RefusedError{
			Code: wire.CodeBusy, Text: fmt.Sprintf("%d clients are served already", maxClients), Hint: "start another server",
		}
	}
	return wire.Welcome{}, nil
}

const goneHint = "restore the guest from a snapshot that nobody writes to"

// serveClient serves one link until it ends.
func (m *memoryServer) serveClient(link *quictransport.Link) {
	start := time.Now()
	if err := m.attach(link); err != nil {
		closeLink(link, err)
		m.message(fmt.Sprintf("%s at %s was not served: %v", link.Peer(), link.RemoteAddr(), err))
		return
	}
	client := ServeEvent{Event: EventAttached, Address: link.RemoteAddr().String(), Peer: link.Peer()}
	m.report(client)
	<-link.Done()
	m.leave(link)
	client.Event, client.Message = EventDetached, link.Err().Error()
	client.Served = &Served{
		TotalMS: milliseconds(time.Since(start)), BytesSent: link.BytesSent(), BytesReceived: link.BytesReceived(), BulkConnections: len(link.Bulk()),
	}
	m.report(client)
}

// attach hears what the client wants and begins to serve it.
func (m *memoryServer) attach(link *quictransport.Link) error {
	_ = link.Control().SetReadDeadline(time.Now().Add(attachTimeout)) // fails on a dead link, as the read does
	_, payload, err := wire.ReadFrameOf(link.Control(), nil, wire.TypeAttach)
	if err != nil {
		return fmt.Errorf("wait for the client's wish: %w", err)
	}
	wish, err := wire.ParseAttach(payload)
	if err != nil {
		return err
	}
	if wish.Memory != [16]byte{} && wish.Memory != m.memory.id {
		return errOtherMemory
	}
	if err := m.join(link); err != nil {
		return err
	}
	answer := wire.Memory{Memory: m.memory.id, Bytes: m.memory.size}
	if _, err := link.Control().Write(answer.Append(nil)); err != nil {
		m.leave(link)
		return fmt.Errorf("tell the client about the memory: %w", err)
	}
	m.pages.attach(link)
	return nil
}

// errOtherMemory refuses a client that began with another memory.
var errOtherMemory = errors.New("this server has another memory than the one that the client began with")

func (m *memoryServer) join(link *quictransport.Link) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.gone != nil {
		return m.gone
	}
	m.clients[link] = struct{}{}
	m.served++
	return nil
}

func (m *memoryServer) leave(link *quictransport.Link) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.clients, link)
}

func (m *memoryServer) message(text string) {
	m.report(ServeEvent{Event: EventMessage, Message: text})
}
