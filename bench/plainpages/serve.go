package plainpages

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/lazymig/lazymig/bench/selfsigned"
	"github.com/quic-go/quic-go"
)

// Address says where a server is. It travels between processes as JSON.
type Address struct {
	QUIC, TCP string
	// Certificate is the server's, in DER.
	Certificate []byte
}

// Server serves the pages of one file to any number of clients.
type Server struct {
	pages   io.ReaderAt
	address Address
	quic    *quic.Listener
	tcp     net.Listener
	cancel  context.CancelFunc
	wait    sync.WaitGroup // the accept loops and the clients
}

// Loopback is the address of this host for itself.
const Loopback = "127.0.0.1"

// Serve listens at an address of this host, over QUIC and over TCP.
func Serve(pages io.ReaderAt, host string) (*Server, error) {
	cert, err := selfsigned.Certificate(serverName)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{serverName}, MinVersion: tls.VersionTLS13}
	s := &Server{pages: pages}
	if s.quic, err = quic.ListenAddr(net.JoinHostPort(host, "0"), config, quicConfig()); err != nil {
		return nil, fmt.Errorf("listen for QUIC: %w", err)
	}
	if s.tcp, err = net.Listen("tcp", net.JoinHostPort(host, "0")); err != nil {
		return nil, errors.Join(fmt.Errorf("listen for TCP: %w", err), s.quic.Close())
	}
	s.address = Address{QUIC: s.quic.Addr().String(), TCP: s.tcp.Addr().String(), Certificate: cert.Certificate[0]}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.wait.Go(func() { s.acceptQUIC(ctx) })
	s.wait.Go(func() { s.acceptTCP(ctx) })
	return s, nil
}

// Address returns where the server is.
func (s *Server) Address() Address { return s.address }

// Close ends the server and all its clients.
func (s *Server) Close() error {
	s.cancel()
	err := errors.Join(s.quic.Close(), s.tcp.Close())
	s.wait.Wait()
	return err
}

func (s *Server) acceptQUIC(ctx context.Context) {
	for {
		conn, err := s.quic.Accept(ctx)
		if err != nil {
			return
		}
		s.wait.Go(func() {
			if stream, err := conn.AcceptStream(ctx); err == nil {
				s.answer(stream)
			}
			_ = conn.CloseWithError(0, "") // the client has gone
		})
	}
}

func (s *Server) acceptTCP(ctx context.Context) {
	for {
		conn, err := s.tcp.Accept()
		if err != nil {
			return
		}
		s.wait.Go(func() {
			stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // unblocks the read
			defer stop()
			s.answer(conn)
			_ = conn.Close() // the client has gone
		})
	}
}

// answer answers one client until it has gone. What fails shows there.
func (s *Server) answer(client io.ReadWriter) {
	var request [requestBytes]byte
	page := make([]byte, pageBytes)
	for {
		if _, err := io.ReadFull(client, request[:]); err != nil {
			return
		}
		if _, err := s.pages.ReadAt(page, int64(binary.LittleEndian.Uint64(request[:]))); err != nil {
			return
		}
		if _, err := client.Write(page); err != nil {
			return
		}
	}
}
