package rawquic

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/lazymig/lazymig/bench/selfsigned"
	"github.com/quic-go/quic-go"
	"golang.org/x/sys/unix"
)

// serverName is the name in the server's certificate.
const serverName = "rawquic"

// Child does the work of one end if this process was started for it. When it
// was, the caller must exit with the code.
func Child() (code int, is bool) {
	role := os.Getenv(childVariable)
	if role == "" {
		return 0, false
	}
	var j job
	err := json.NewDecoder(os.Stdin).Decode(&j)
	switch {
	case err != nil:
	case role == "server":
		err = serve(context.Background(), j)
	default:
		err = measure(context.Background(), j)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1, true
	}
	return 0, true
}

func quicConfig() *quic.Config {
	return &quic.Config{
		HandshakeIdleTimeout:           setUpTimeout,
		InitialStreamReceiveWindow:     window,
		MaxStreamReceiveWindow:         window,
		InitialConnectionReceiveWindow: window,
		MaxConnectionReceiveWindow:     window,
	}
}

// dial connects a client to the server with the given certificate.
func dial(ctx context.Context, j job) (*quic.Conn, error) {
	cert, err := x509.ParseCertificate(j.Certificate)
	if err != nil {
		return nil, fmt.Errorf("parse the server's certificate: %w", err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	config := &tls.Config{RootCAs: pool, ServerName: serverName, NextProtos: []string{serverName}, MinVersion: tls.VersionTLS13}
	return quic.DialAddr(ctx, j.Config.Address, config, quicConfig())
}

// accept listens, tells where on standard output, and takes one connection.
func accept(ctx context.Context, j job) (*quic.Listener, *quic.Conn, error) {
	cert, err := selfsigned.Certificate(serverName)
	if err != nil {
		return nil, nil, err
	}
	config := &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{serverName}, MinVersion: tls.VersionTLS13}
	listener, err := quic.ListenAddr(j.Config.Address, config, quicConfig())
	if err != nil {
		return nil, nil, fmt.Errorf("listen: %w", err)
	}
	if err := say(hello{Address: listener.Addr().String(), Certificate: cert.Certificate[0]}); err != nil {
		return nil, nil, errors.Join(err, listener.Close())
	}
	ctx, cancel := context.WithTimeout(ctx, setUpTimeout)
	defer cancel()
	conn, err := listener.Accept(ctx)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("accept: %w", err), listener.Close())
	}
	return listener, conn, nil
}

func say(what any) error {
	if err := json.NewEncoder(os.Stdout).Encode(what); err != nil {
		return fmt.Errorf("write to standard output: %w", err)
	}
	return nil
}

// cpu returns the CPU time of this process until now.
func cpu() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
