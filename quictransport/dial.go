package quictransport

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/lazymig/lazymig/internal/wire"
)

// DialLink links to the destination that listens at addr, HOST:PORT. Of hello
// the caller sets State, Epoch, VM, Session and Name; the rest is set here. It
// returns the link and the destination's Welcome, whose DomainKey is set only
// without identities.
//
// The error wraps one of the sentinels of this package, or is a *RefusedError.
// The attempt is bounded by ctx and by 6 s.
func DialLink(ctx context.Context, addr string, id *Identity, cfg Config, hello wire.Hello) (*Link, wire.Welcome, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	d := &dialer{id: id, peer: cfg.Peer, purpose: cfg.Purpose}
	link, welcome, err := d.link(ctx, addr, cfg, hello)
	if err != nil {
		for _, c := range d.conns {
			c.close(codeOf(wire.CodeDone), "dial failed")
		}
		return nil, wire.Welcome{}, fmt.Errorf("dial %s: %w", addr, err)
	}
	return link, welcome, nil
}

// dialer makes one attempt. It owns its connections until there is a link.
type dialer struct {
	id      *Identity
	peer    string
	purpose wire.Purpose
	remote  *net.UDPAddr

	mu    sync.Mutex // protects conns while bulk connections are dialled
	conns []*conn
}

func (d *dialer) link(ctx context.Context, addr string, cfg Config, hello wire.Hello) (*Link, wire.Welcome, error) {
	err := cfg.check()
	if err != nil {
		return nil, wire.Welcome{}, err
	}
	if hello, err = d.complete(hello); err != nil {
		return nil, wire.Welcome{}, err
	}
	if d.remote, err = resolve(ctx, addr, d.id.Insecure); err != nil {
		return nil, wire.Welcome{}, err
	}
	first, err := d.connectFirst(ctx)
	if err != nil {
		return nil, wire.Welcome{}, err
	}
	// A handshake takes processor time, which looks like a long path: the shorter of
	// two counts.
	second, err := d.connect(ctx)
	if err != nil {
		return nil, wire.Welcome{}, fmt.Errorf("bulk connection 0: %w", err)
	}
	n := cfg.bulk(min(first.ConnectionStats().MinRTT, second.ConnectionStats().MinRTT), runtime.NumCPU())
	var s streams
	if s.control, err = open(ctx, first, hello, wire.RoleControl, uint16(n)); err != nil {
		return nil, wire.Welcome{}, err
	}
	if s.demand, err = open(ctx, first, hello, wire.RoleDemand, 0); err != nil {
		return nil, wire.Welcome{}, err
	}
	bulk, bulkErr := d.dialBulk(ctx, n, second, hello)
	welcome, err := readWelcome(ctx, s.control, bulkErr)
	if err != nil {
		return nil, wire.Welcome{}, err
	}
	if err := checkWelcome(welcome, hello); err != nil {
		return nil, wire.Welcome{}, err
	}
	conns := []*conn{first}
	for _, b := range bulk {
		conns, s.bulk = append(conns, b.conn), append(s.bulk, b.stream)
	}
	s.recipe = bulk[0].recipe
	return newLink(conns, s), welcome, nil
}

// complete fills in what the transport says of itself.
func (d *dialer) complete(hello wire.Hello) (wire.Hello, error) {
	if hello.Session == [16]byte{} {
		return hello, fmt.Errorf("%w: the session is zero", ErrConfig)
	}
	if len(hello.Name) > wire.MaxName {
		return hello, fmt.Errorf("%w: the VM's name has %d bytes, at most %d", ErrConfig, len(hello.Name), wire.MaxName)
	}
	var attempt [8]byte
	if _, err := rand.Read(attempt[:]); err != nil {
		return hello, fmt.Errorf("make attempt number: %w", err)
	}
	hello.Version = wire.Version
	hello.Insecure = d.id.Insecure
	hello.Purpose = d.purpose
	hello.Attempt = binary.LittleEndian.Uint64(attempt[:])
	hello.KeyCheck = d.id.keyCheck(hello.Session)
	return hello, nil
}

// connectFirst makes the demand connection. A closed port ends it early.
func (d *dialer) connectFirst(ctx context.Context) (*conn, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	var probe sync.WaitGroup
	defer probe.Wait()
	defer cancel(nil)
	probe.Go(func() {
		if err := watchPort(ctx, d.remote); err != nil {
			cancel(err)
		}
	})
	return d.connect(ctx)
}

// connect makes one connection from a socket of its own.
func (d *dialer) connect(ctx context.Context) (*conn, error) {
	socket, err := localSocket(d.remote, d.id.Insecure)
	if err != nil {
		return nil, fmt.Errorf("open socket: %w", err)
	}
	transport := &quic.Transport{Conn: socket}
	// -1: the destination opens no streams.
	q, err := transport.Dial(ctx, d.remote, d.id.clientTLS(d.peer), quicConfig(-1))
	if err != nil {
		return nil, errors.Join(explainDial(err), transport.Close(), socket.Close())
	}
	c := &conn{Conn: q, transport: transport, socket: socket}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.conns = append(d.conns, c)
	return c, nil
}

// open opens a stream and says hello on it.
func open(ctx context.Context, c *conn, hello wire.Hello, role wire.Role, index uint16) (*quic.Stream, error) {
	s, err := c.OpenStreamSync(ctx)
	if err != nil {
		return nil, fmt.Errorf("open %s stream: %w", role, explainDial(err))
	}
	hello.Role, hello.Index = role, index
	if _, err := s.Write(hello.Append(nil)); err != nil {
		return nil, fmt.Errorf("open %s stream: %w", role, explainDial(err))
	}
	return s, nil
}

type bulkPart struct {
	conn   *conn
	stream *quic.Stream
	recipe *quic.Stream // of the first
}

// dialBulk makes all bulk connections, the first of which is there, maxDials at a
// time.
func (d *dialer) dialBulk(ctx context.Context, n int, first *conn, hello wire.Hello) ([]bulkPart, error) {
	parts := make([]bulkPart, n)
	errs := make([]error, n)
	parts[0].conn = first
	places := make(chan struct{}, maxDials)
	var dials sync.WaitGroup
	for i := range n {
		places <- struct{}{}
		dials.Go(func() {
			defer func() { <-places }()
			if i > 0 {
				parts[i].conn, errs[i] = d.connect(ctx)
			}
			if errs[i] == nil {
				parts[i].stream, errs[i] = open(ctx, parts[i].conn, hello, wire.RoleBulk, uint16(i))
			}
			if errs[i] == nil && i == 0 {
				parts[i].recipe, errs[i] = open(ctx, parts[i].conn, hello, wire.RoleRecipe, 0)
			}
		})
	}
	dials.Wait()
	for i, err := range errs {
		if err != nil {
			return nil, fmt.Errorf("bulk connection %d: %w", i, err)
		}
	}
	return parts, nil
}

// readWelcome reads the answer on the control stream. A destination that
// refuses early may have cut the bulk connections off, bulkErr, before its
// reasons arrive: they count for more.
func readWelcome(ctx context.Context, control *quic.Stream, bulkErr error) (wire.Welcome, error) {
	if bulkErr != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, refusalGrace)
		defer cancel()
	}
	stop := context.AfterFunc(ctx, func() { _ = control.SetReadDeadline(time.Unix(1, 0)) }) // never fails
	t, payload, err := wire.ReadFrameOf(control, nil, wire.TypeWelcome, wire.TypeRefuse)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	refused := false
	if err == nil && t == wire.TypeRefuse {
		err = readRefusal(payload)
		refused = true
	}
	switch {
	case err != nil && !refused && bulkErr != nil:
		return wire.Welcome{}, bulkErr
	case err != nil:
		return wire.Welcome{}, answerError(ctx, err)
	case bulkErr != nil:
		return wire.Welcome{}, bulkErr
	}
	return wire.ParseWelcome(payload)
}

func readRefusal(payload []byte) error {
	f, err := wire.ParseRefuse(payload)
	if err != nil {
		return err
	}
	return &RefusedError{Code: f.Code, Text: f.Text, Hint: f.Hint}
}

// answerError words an error that came instead of an answer. The peer's
// opinion of this side's certificate comes so late, too.
func answerError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return &Error{kind: ErrNoAnswer, text: "the other side accepted the connection and then said nothing", hint: "see its messages and its load"}
	}
	if errors.Is(err, io.EOF) {
		return &Error{kind: ErrProtocol, text: "the other side closed the control stream without an answer", hint: "see its messages"}
	}
	return explainDial(err)
}

func checkWelcome(w wire.Welcome, hello wire.Hello) error {
	switch {
	case w.Session != hello.Session:
		return fmt.Errorf("%w: the destination welcomes another session", wire.ErrMalformed)
	case hello.Insecure != (w.DomainKey != [32]byte{}):
		return fmt.Errorf("%w: domain key in the welcome: %t, without identities: %t", wire.ErrMalformed, w.DomainKey != [32]byte{}, hello.Insecure)
	}
	return nil
}
