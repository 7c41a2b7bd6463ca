package link

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// Echo keeps one TCP connection to a guest's echo server alive: it sends a
// number, waits for it to come back, and measures how long that took.
type Echo struct {
	conn   net.Conn
	cancel context.CancelFunc
	done   chan struct{} // closed when serve has ended

	mu    sync.Mutex // guards stats
	stats EchoStats
}

// EchoStats is what an Echo has seen.
type EchoStats struct {
	// Count is the number of messages that came back.
	Count uint64
	// Worst is the longest round trip since the last call of Reset, including
	// one that is under way.
	Worst time.Duration
	// Err is what ended the connection, nil while it lives.
	Err error

	waiting time.Time // since when a message is under way; zero when none is
}

// DialEcho connects from the client to port 7 of address and starts to send.
func (l *Link) DialEcho(ctx context.Context, address string) (*Echo, error) {
	var conn net.Conn
	if err := l.Inside(Client, func() (err error) {
		// An address and no name: Go then makes the socket on this thread.
		conn, err = (&net.Dialer{}).DialContext(ctx, "tcp4", net.JoinHostPort(address, "7"))
		return err
	}); err != nil {
		return nil, fmt.Errorf("connect to the guest's echo server: %w", err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	e := &Echo{conn: conn, cancel: cancel, done: make(chan struct{})}
	go e.serve(ctx)
	return e, nil
}

func (e *Echo) serve(ctx context.Context) {
	defer close(e.done)
	tick := time.NewTicker(echoPeriod)
	defer tick.Stop()
	for number := uint64(1); ; number++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := e.exchange(number); err != nil {
			e.mu.Lock()
			e.stats.Err = err
			e.mu.Unlock()
			return
		}
	}
}

func (e *Echo) exchange(number uint64) error {
	start := time.Now()
	e.begin(start)
	if err := e.conn.SetDeadline(start.Add(echoTimeout)); err != nil {
		return fmt.Errorf("set a deadline: %w", err)
	}
	var message, answer [8]byte
	binary.LittleEndian.PutUint64(message[:], number)
	if _, err := e.conn.Write(message[:]); err != nil {
		return fmt.Errorf("send message %d: %w", number, err)
	}
	if _, err := io.ReadFull(e.conn, answer[:]); err != nil {
		return fmt.Errorf("receive message %d: %w", number, err)
	}
	if answer != message {
		return fmt.Errorf("receive message %d: %x came back", number, answer)
	}
	e.end(time.Since(start))
	return nil
}

func (e *Echo) begin(at time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stats.waiting = at
}

func (e *Echo) end(took time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stats.waiting = time.Time{}
	e.stats.Count++
	e.stats.Worst = max(e.stats.Worst, took)
}

// Stats returns what the connection has seen until now.
func (e *Echo) Stats() EchoStats {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.stats
	if !s.waiting.IsZero() {
		s.Worst = max(s.Worst, time.Since(s.waiting))
	}
	return s
}

// Reset forgets the longest round trip.
func (e *Echo) Reset() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stats.Worst = 0
}

// Close ends the connection. It returns the error that ended it before, if
// one did.
func (e *Echo) Close() error {
	e.cancel()
	err := e.conn.Close()
	<-e.done
	return errors.Join(e.ended(), err)
}

// ended returns why the connection ended, unless Close ended it.
func (e *Echo) ended() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if errors.Is(e.stats.Err, net.ErrClosed) {
		return nil
	}
	return e.stats.Err
}
