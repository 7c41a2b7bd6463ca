package quictransport

import (
	"fmt"
	"net"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/lazymig/lazymig/internal/wire"
)

// Config is the configuration of a link or a listener. The zero value is good.
type Config struct {
	// Bulk is the number of bulk connections that DialLink makes, 1 to
	// MaxBulk; 0 leaves it to the round trip: one on a short path, more on a
	// long one. A listener takes what its peers bring.
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

// check fails for a number of bulk connections that cannot be.
func (c Config) check() error {
	if c.Bulk < 0 || c.Bulk > MaxBulk {
		return fmt.Errorf("%w: %d bulk connections, want 1 to %d", ErrConfig, c.Bulk, MaxBulk)
	}
	return nil
}

// bulk returns the number of bulk connections on a path. Reno halves a
// connection's window at each loss and opens it again by one packet each round
// trip: on a long path one connection alone never fills the link.
func (c Config) bulk(rtt time.Duration, processors int) int {
	near := min(max(processors/2, 1), nearBulk)
	switch {
	case c.Bulk != 0:
		return c.Bulk
	case rtt < nearRTT:
		return near
	case rtt < farRTT:
		return max(near, middleBulk)
	default:
		return MaxBulk
	}
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
