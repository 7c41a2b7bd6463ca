package quictransport

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/lazymig/lazymig/internal/wire"
)

// Stream is one bidirectional stream of a Link. One goroutine may read while
// another writes. Errors other than io.EOF wrap os.ErrDeadlineExceeded after a
// deadline, or the cause of the link's end.
type Stream struct {
	// One pointer: as an io.Reader a Stream costs no allocation.
	part *part
}

type part struct {
	link   *Link
	stream *quic.Stream
	role   wire.Role
}

// Read reads up to len(p) bytes. io.EOF says that the peer has closed its side
// after all that was read; on the control stream it confirms that to a peer in
// CloseGracefully.
func (s Stream) Read(p []byte) (int, error) {
	n, err := s.part.stream.Read(p)
	if err == nil {
		return n, nil
	}
	if errors.Is(err, io.EOF) {
		if s.part.role == wire.RoleControl {
			s.part.link.confirm()
		}
		return n, io.EOF
	}
	return n, s.part.explain("read", err)
}

// Write writes all of p. It returns when the data is in packets, not when the
// peer has it.
func (s Stream) Write(p []byte) (int, error) {
	n, err := s.part.stream.Write(p)
	if err != nil {
		err = s.part.explain("write", err)
	}
	return n, err
}

// SetReadDeadline ends a Read at the given time; zero means never.
func (s Stream) SetReadDeadline(t time.Time) error { return s.part.stream.SetReadDeadline(t) }

// SetWriteDeadline ends a Write at the given time; zero means never.
func (s Stream) SetWriteDeadline(t time.Time) error { return s.part.stream.SetWriteDeadline(t) }

// CancelRead tells the peer that nothing more will be read. The stream cannot
// be read again.
func (s Stream) CancelRead(code wire.Code) { s.part.stream.CancelRead(quic.StreamErrorCode(code)) }

// CancelWrite drops what was written and not yet delivered. The stream cannot
// be written again.
func (s Stream) CancelWrite(code wire.Code) { s.part.stream.CancelWrite(quic.StreamErrorCode(code)) }

// explain words an error of the stream. If it came with the end of the
// connection the link ends too, and its cause is what the caller gets.
func (p *part) explain(verb string, err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%s %s stream: %w", verb, p.role, err)
	}
	if _, ok := errors.AsType[*quic.StreamError](err); ok {
		return fmt.Errorf("%s %s stream: %w", verb, p.role, err)
	}
	if !errors.Is(err, quic.ErrStreamClosed) {
		p.link.end(explain(err, true))
	}
	if cause := p.link.Err(); cause != nil {
		err = cause
	}
	return fmt.Errorf("%s %s stream: %w", verb, p.role, err)
}
