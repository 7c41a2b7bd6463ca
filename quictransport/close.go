package quictransport

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/lazymig/lazymig/internal/wire"
)

// How a link ends without loss. QUIC drops unsent data when a connection is
// closed, and tells nobody what the peer has read. So
//
//  1. a side that is done closes its half of the control stream;
//  2. the other side, when it has read that half to its end, opens a
//     unidirectional stream and closes it: the confirmation;
//  3. a side closes the connections when it has the confirmation and has read
//     the other half to its end, too, or when the time is over;
//  4. whoever closes after it has read everything says so in the QUIC error
//     code, which stands in for a confirmation that was still on its way.

// CloseGracefully ends the link after the peer has read everything that was
// written to Control. It reads and drops what the peer still writes there.
// Then it waits for the peer to be done as well. The wait is bounded by ctx
// and by one second. The error wraps ErrNotConfirmed if it is not sure that the
// peer has read everything; the link is closed in any case.
func (l *Link) CloseGracefully(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, closeTimeout)
	defer cancel()
	_ = l.control.part.stream.Close() // fails only on a cancelled stream, which cannot be confirmed
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		_, _ = io.Copy(io.Discard, l.control) // its end is all that counts
	}()
	_, err := l.conns[0].AcceptUniStream(ctx)
	if err != nil && (closedAfterReading(err) || closedAfterReading(l.Err())) {
		err = nil
	}
	code, reason := wire.CodeTimeout, "the other side is not done"
	select {
	case <-l.readAll:
		code, reason = wire.CodeDone, "done"
	case <-l.Done():
	case <-ctx.Done():
	}
	l.Close(code, reason)
	<-drained
	if err != nil {
		return fmt.Errorf("close link: %w: %w", ErrNotConfirmed, err)
	}
	return nil
}

// closedAfterReading reports whether err is the peer's close, and whether the
// peer had read the control stream to its end before.
func closedAfterReading(err error) bool {
	if err == nil {
		return false
	}
	e, ok := errors.AsType[*ClosedError](explain(err, true))
	return ok && e.readAll
}

// confirm tells the peer, once, that its half of the control stream was read
// to its end.
func (l *Link) confirm() {
	l.confirmOnce.Do(func() {
		close(l.readAll)
		if s, err := l.conns[0].OpenUniStream(); err == nil {
			_ = s.Close() // on failure the link is ending, which the peer sees
		}
	})
}
