package plainpages

import "github.com/quic-go/quic-go"

// serverName is the name in the server's certificate.
const serverName = "plainpages"

func quicConfig() *quic.Config {
	return &quic.Config{HandshakeIdleTimeout: setUpTimeout, MaxIdleTimeout: idleTimeout}
}
