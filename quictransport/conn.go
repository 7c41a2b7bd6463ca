package quictransport

import (
	"crypto/sha256"
	"net"

	"github.com/quic-go/quic-go"

	"github.com/lazymig/lazymig/internal/wire"
)

// conn is a QUIC connection and, at the dialling side, the socket that it has
// for itself. Its owner closes it: the dial, the arrival at a listener, or the
// link.
type conn struct {
	*quic.Conn
	transport *quic.Transport // nil if the socket is the listener's
	socket    *net.UDPConn
}

// close ends the connection with a code for the peer and releases the socket.
// Data that is still on its way is lost.
func (c *conn) close(code quic.ApplicationErrorCode, reason string) {
	_ = c.CloseWithError(code, wire.CleanText(reason, maxReason)) // always nil
	if c.transport != nil {
		_ = c.transport.Close() // nothing to do about it, and nothing is lost
		_ = c.socket.Close()
	}
}

// peer returns the name in the peer's certificate.
func (c *conn) peer() string {
	return peerName(c.ConnectionState().TLS.PeerCertificates[0])
}

// fingerprint identifies the peer's certificate.
func (c *conn) fingerprint() [sha256.Size]byte {
	return sha256.Sum256(c.ConnectionState().TLS.PeerCertificates[0].Raw)
}

// codeOf is the QUIC error code of a wire code.
func codeOf(c wire.Code) quic.ApplicationErrorCode { return quic.ApplicationErrorCode(c) }
