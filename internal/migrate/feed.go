package migrate

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/lazymig/lazymig/internal/wire"
	"github.com/lazymig/lazymig/pagecache"
	"github.com/lazymig/lazymig/quictransport"
)

// feed is what one VMM's pages come from for the time being: a link to a
// memory server, or the readers of a file of this host.
type feed struct {
	fetcher *fetcher
	// done is closed when nothing more comes; err then says why.
	done <-chan struct{}
	err  func() error
	// close ends it and waits for its goroutines.
	close func()
	// sent and received are the bytes on the network so far.
	sent, received func() uint64
	// connections is how many carry the background: none for a file.
	connections int
}

// openFeed makes feeds for one VMM, again after one has ended. It tries until
// ctx ends; an error that wraps ErrMemoryGone says that none can ever work.
type openFeed func(ctx context.Context, in *installer) (*feed, error)

// remoteMemory is the memory of a memory server. It pins the one that it found
// first: pages of two snapshots must not meet in one guest.
type remoteMemory struct {
	from     string
	identity *quictransport.Identity
	config   quictransport.Config
	memory   wire.Memory
	key      pagecache.Key
}

// findMemory asks a server what it has.
func findMemory(ctx context.Context, cfg ServeFaultsConfig) (*remoteMemory, error) {
	m := &remoteMemory{
		from: cfg.From, identity: cfg.Identity,
		config: quictransport.Config{Purpose: wire.PurposeMemory, Peer: cfg.Peer},
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	hello, err := newHello()
	if err != nil {
		return nil, err
	}
	link, welcome, err := quictransport.DialLink(ctx, m.from, m.identity, m.config, hello)
	if err != nil {
		return nil, err
	}
	defer link.Close(wire.CodeDone, "it was only asked")
	m.memory, m.key, err = m.attach(link, welcome)
	return m, err
}

// newHello begins a session of its own: each VMM has one.
func newHello() (wire.Hello, error) {
	var hello wire.Hello
	_, err := rand.Read(hello.Session[:])
	return hello, err
}

// attach tells the server which memory is wanted and checks what it has.
func (m *remoteMemory) attach(link *quictransport.Link, welcome wire.Welcome) (wire.Memory, pagecache.Key, error) {
	key := pagecache.Key(m.identity.DomainKey)
	if m.identity.Insecure {
		key = pagecache.Key(welcome.DomainKey)
	}
	if _, err := link.Control().Write(wire.Attach{Memory: m.memory.Memory}.Append(nil)); err != nil {
		return wire.Memory{}, key, fmt.Errorf("ask for the memory: %w", err)
	}
	_ = link.Control().SetReadDeadline(time.Now().Add(attachTimeout + connectTimeout)) // fails on a dead link, as the read does
	_, payload, err := wire.ReadFrameOf(link.Control(), nil, wire.TypeMemory)
	if err != nil {
		return wire.Memory{}, key, fmt.Errorf("ask for the memory: %w", err)
	}
	memory, err := wire.ParseMemory(payload)
	if err == nil && m.memory.Bytes != 0 && memory != m.memory {
		err = fmt.Errorf("%w: the server has another memory than before", wire.ErrMalformed)
	}
	return memory, key, err
}

// feeds returns what opens feeds for one VMM. say tells about trouble.
func (m *remoteMemory) feeds(say func(string)) (openFeed, error) {
	hello, err := newHello()
	if err != nil {
		return nil, err
	}
	dialer := quictransport.Redialer{
		Addr: m.from, Identity: m.identity, Config: m.config,
		Failed: func(attempt int, err error) {
			if attempt == 1 {
				say(fmt.Sprintf("%v; trying again", err))
			}
		},
	}
	return func(ctx context.Context, in *installer) (*feed, error) {
		for {
			f, err := m.open(ctx, &dialer, hello, in)
			if err == nil || errors.Is(err, ErrMemoryGone) || ctx.Err() != nil {
				return f, err
			}
			say(fmt.Sprintf("%v; trying again", err))
			if err := pauseFor(ctx, sourcePause); err != nil {
				return nil, err
			}
		}
	}, nil
}

// open dials until there is a link, and attaches to the memory. A server may
// refuse now and be put right by a person later; only a memory that is gone is
// gone for good.
func (m *remoteMemory) open(ctx context.Context, dialer *quictransport.Redialer, hello wire.Hello, in *installer) (*feed, error) {
	link, welcome, err := dialer.Dial(ctx, hello)
	if err != nil {
		return nil, asGone(err)
	}
	_, key, err := m.attach(link, welcome)
	if err != nil {
		gone := asGone(errors.Join(err, link.Err()))
		closeLink(link, err)
		return nil, gone
	}
	f := startFetcher(link, snapshotLayout(m.memory.Bytes), key, in)
	return &feed{
		fetcher: f, done: link.Done(), err: func() error { return asGone(link.Err()) },
		close: func() {
			link.Close(wire.CodeDone, "done")
			f.stop()
		},
		sent: link.BytesSent, received: link.BytesReceived, connections: len(link.Bulk()),
	}, nil
}

// asGone makes an error wrap ErrMemoryGone if that is what the server says.
func asGone(err error) error {
	if closed, ok := errors.AsType[*quictransport.ClosedError](err); ok && closed.Remote && closed.Code == wire.CodeMemoryGone {
		return fmt.Errorf("%w (%s)", ErrMemoryGone, closed.Reason)
	}
	if refused, ok := errors.AsType[*quictransport.RefusedError](err); ok && refused.Code == wire.CodeMemoryGone {
		return fmt.Errorf("%w (%s)", ErrMemoryGone, refused.Text)
	}
	return err
}

// pauseFor waits, or returns the cause of ctx if that ends first.
func pauseFor(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
