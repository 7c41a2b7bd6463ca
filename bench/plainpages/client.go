package plainpages

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"io"
	"net"

	"github.com/quic-go/quic-go"
)

// Transport is what carries requests and answers.
type Transport string

const (
	// QUIC is one stream of one quic-go connection, TLS 1.3.
	QUIC Transport = "quic"
	// TCP is one connection without encryption.
	TCP Transport = "tcp"
)

// Client reads the pages of a server, one at a time: it is not for use by more
// than one goroutine.
type Client struct {
	stream io.ReadWriter
	close  func() error
}

var _ io.ReaderAt = (*Client)(nil)

// Dial connects to a server.
func Dial(ctx context.Context, address Address, transport Transport) (*Client, error) {
	ctx, cancel := context.WithTimeout(ctx, setUpTimeout)
	defer cancel()
	switch transport {
	case TCP:
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", address.TCP) // Go sets TCP_NODELAY
		if err != nil {
			return nil, fmt.Errorf("dial over TCP: %w", err)
		}
		return &Client{stream: conn, close: conn.Close}, nil
	case QUIC:
		return dialQUIC(ctx, address)
	default:
		return nil, fmt.Errorf("dial over %q: no such transport", transport)
	}
}

func dialQUIC(ctx context.Context, address Address) (*Client, error) {
	cert, err := x509.ParseCertificate(address.Certificate)
	if err != nil {
		return nil, fmt.Errorf("parse the server's certificate: %w", err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	config := &tls.Config{RootCAs: pool, ServerName: serverName, NextProtos: []string{serverName}, MinVersion: tls.VersionTLS13}
	conn, err := quic.DialAddr(ctx, address.QUIC, config, quicConfig())
	if err != nil {
		return nil, fmt.Errorf("dial over QUIC: %w", err)
	}
	stream, err := conn.OpenStreamSync(ctx)
	if err != nil {
		return nil, fmt.Errorf("open a stream: %w", err)
	}
	return &Client{stream: stream, close: func() error { return conn.CloseWithError(0, "") }}, nil
}

// ReadAt reads one page; offset must be the beginning of one.
func (c *Client) ReadAt(page []byte, offset int64) (int, error) {
	if len(page) != pageBytes {
		return 0, fmt.Errorf("read %d bytes: only whole pages of %d can be asked for", len(page), pageBytes)
	}
	var request [requestBytes]byte
	binary.LittleEndian.PutUint64(request[:], uint64(offset))
	if _, err := c.stream.Write(request[:]); err != nil {
		return 0, fmt.Errorf("ask for a page: %w", err)
	}
	n, err := io.ReadFull(c.stream, page)
	if err != nil {
		return n, fmt.Errorf("receive a page: %w", err)
	}
	return n, nil
}

// Close ends the connection.
func (c *Client) Close() error { return c.close() }
