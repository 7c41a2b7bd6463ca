package quictransport

import (
	"fmt"
	"net"

	"github.com/quic-go/quic-go"

	"github.com/lazymig/lazymig/internal/wire"
)

// Config is the configuration of a link or a listener. The zero value is good.
type Config struct {
	// Bulk is the number of bulk connections that DialLink makes, 1 to
	// MaxBulk; 0 means 1. A listener takes what its peers bring.
	Bulk int
	// Purpose says what the links are for; a listener refuses others. The zero
	// value is a migration.
	Purpose wire.Purpose
	// Peer narrows the certificates of the CA that may peer to the one of this
	// name. Empty: any.
	Peer string
	// Rejected, if set, is called by a listener for each connection that did
	// not become part of a link, at most ten times a second. It must not
	// block.
	Rejected func(remote net.Addr, err error)
}

// bulk returns the number of bulk connections.
func (c Config) bulk() (int, error) {
	if c.Bulk < 0 || c.Bulk > MaxBulk {
		return 0, fmt.Errorf("%w: %d bulk connections, want 1 to %d", ErrConfig, c.Bulk, MaxBulk)
	}
	if c.Bulk == 0 {
		return defaultBulk, nil
	}
	return c.Bulk, nil
}

// quicConfig returns what both sides share. streams is the number of streams
// that the peer may open. The packet size is left to QUIC: 1280 bytes at
// first, then what the path takes, found in a few round trips; a larger first
// packet would fail on paths with a smaller MTU.
func quicConfig(streams int64) *quic.Config {
	return &quic.Config{
		Versions:                       []quic.Version{quic.Version1},
		HandshakeIdleTimeout:           handshakeIdle,
		MaxIdleTimeout:                 idleTimeout,
		KeepAlivePeriod:                keepAlive,
		InitialStreamReceiveWindow:     firstWindow,
		MaxStreamReceiveWindow:         streamWindow,
		InitialConnectionReceiveWindow: firstWindow * 3 / 2,
		MaxConnectionReceiveWindow:     connWindow,
		MaxIncomingStreams:             streams,
		MaxIncomingUniStreams:          1, // the confirmation of CloseGracefully
	}
}
