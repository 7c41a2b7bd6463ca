package migrate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/lazymig/lazymig/internal/wire"
	"github.com/lazymig/lazymig/quictransport"
)

// appender is any frame.
type appender interface{ Append(b []byte) []byte }

// inbound is one frame of the control stream of a link.
type inbound struct {
	from    *control
	kind    wire.Type
	payload []byte
	end     bool // the peer has ended the stream: there is no frame
}

// control is this side's end of a link's control stream. One goroutine of its
// own reads it; any may send.
type control struct {
	link *quictransport.Link
	wait sync.WaitGroup
	quit chan struct{} // closed when nobody takes frames any more

	mu    sync.Mutex // protects frame and serialises writes; a leaf
	frame []byte
}

// startControl starts to read frames of the allowed types from link into out.
// The link is closed when one cannot be read.
func startControl(link *quictransport.Link, out chan<- inbound, allowed ...wire.Type) *control {
	c := &control{link: link, quit: make(chan struct{})}
	c.wait.Go(func() {
		if err := c.serve(out, allowed); err != nil {
			closeLink(link, err)
		}
	})
	return c
}

func (c *control) serve(out chan<- inbound, allowed []wire.Type) error {
	for {
		// Each frame has its own buffer, since it is handed on.
		kind, payload, err := wire.ReadFrameOf(c.link.Control(), nil, allowed...)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil // finish took the stream over
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read control stream: %w", err)
		}
		select {
		case out <- inbound{from: c, kind: kind, payload: payload, end: err != nil}:
		case <-c.quit:
			return nil
		case <-c.link.Done():
			return nil
		}
		if err != nil {
			return nil
		}
	}
}

// stop waits for the reader of a dead link.
func (c *control) stop() { c.wait.Wait() }

// finish ends the link in order: the peer gets all that was sent, or a second
// has passed. It is called once, and drops what the peer still sends.
func (c *control) finish() {
	close(c.quit)
	_ = c.link.Control().SetReadDeadline(time.Unix(1, 0)) // fails on a dead link, whose reader ends by itself
	c.wait.Wait()
	_ = c.link.Control().SetReadDeadline(time.Time{})
	_ = c.link.CloseGracefully(context.Background()) // a peer that did not hear learns it at the next link
}

// closeLink ends a link because of an error of this side, and tells the peer.
func closeLink(link *quictransport.Link, err error) { link.Close(codeFor(err), err.Error()) }

func codeFor(err error) wire.Code {
	switch {
	case errors.Is(err, wire.ErrMalformed), errors.Is(err, wire.ErrUnexpected), errors.Is(err, wire.ErrUnknownType):
		return wire.CodeMalformed
	case errors.Is(err, ErrMemoryGone):
		return wire.CodeMemoryGone
	case errors.Is(err, errOtherMemory):
		return wire.CodeOtherMemory
	default:
		return wire.CodeBroken
	}
}

// errNoLink is returned when a frame cannot be sent because there is no link.
var errNoLink = errors.New("no link to the peer")

// send writes one frame. A nil control has no link.
func (c *control) send(f appender) error {
	if c == nil {
		return errNoLink
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.frame = f.Append(c.frame[:0])
	if _, err := c.link.Control().Write(c.frame); err != nil {
		return fmt.Errorf("write control stream: %w", err)
	}
	return nil
}
