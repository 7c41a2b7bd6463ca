package relay

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"io"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"golang.org/x/sys/unix"
)

// paths are what the benchmarks compare. 1 Gbit/s is the rate of a common card.
var paths = []struct {
	name string
	cfg  *Config // nil: no relay
}{
	{"direct", nil},
	{"relay", &Config{}},
	{"singles", &Config{Loss: 1e-12}}, // no batches
	{"gigabit", &Config{Rate: 125_000_000}},
	{"gigabit-5ms", &Config{Rate: 125_000_000, Delay: 2500 * time.Microsecond}},
	{"400Mbit-1ms", &Config{Rate: 50_000_000, Delay: 500 * time.Microsecond}},
	{"100Mbit-1ms", &Config{Rate: 12_500_000, Delay: 500 * time.Microsecond}},
}

// BenchmarkRoundTrip measures round trips of 100 bytes:
//
//	go test -run '^$' -bench RoundTrip -count 5 ./internal/relay
func BenchmarkRoundTrip(b *testing.B) {
	for _, path := range paths {
		b.Run(path.name, func(b *testing.B) {
			server := echo(b)
			conn := dialBench(b, path.cfg, server)
			text := make([]byte, 100)
			var times []time.Duration
			for b.Loop() {
				begun := time.Now()
				round(b, conn, text)
				times = append(times, time.Since(begun))
			}
			slices.Sort(times)
			b.ReportMetric(float64(times[len(times)/2].Nanoseconds())/1000, "p50-µs")
			b.ReportMetric(float64(times[len(times)*99/100].Nanoseconds())/1000, "p99-µs")
		})
	}
}

// BenchmarkBulk measures 64 MiB over one QUIC connection, and the processor
// time of everything: what exceeds that of "direct" is the relay's.
//
//	go test -run '^$' -bench Bulk -benchtime 5x ./internal/relay
func BenchmarkBulk(b *testing.B) {
	const size = 64 << 20
	for _, path := range paths {
		b.Run(path.name, func(b *testing.B) {
			stream, passed := quicStream(b, path.cfg)
			b.SetBytes(size)
			var request [8]byte
			binary.LittleEndian.PutUint64(request[:], size)
			cpu := processorTime(b)
			for b.Loop() {
				if _, err := stream.Write(request[:]); err != nil {
					b.Fatal(err)
				}
				if _, err := io.CopyN(io.Discard, stream, size); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric((processorTime(b)-cpu).Seconds()/float64(b.N)*(1<<30)/size, "cpu-s/GiB")
			passed()
		})
	}
}

func processorTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// quicStream connects to a server that sends as many bytes as it is asked for.
func quicStream(b *testing.B, cfg *Config) (*quic.Stream, func()) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		b.Fatal(err)
	}
	config := &quic.Config{InitialStreamReceiveWindow: 16 << 20, InitialConnectionReceiveWindow: 24 << 20}
	listener, err := quic.ListenAddr("127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: private}}, NextProtos: []string{"bench"},
	}, config)
	if err != nil {
		b.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		serveBytes(listener)
	}()
	address, passed := listener.Addr().String(), func() {}
	if cfg != nil {
		c := *cfg
		c.Server = addressOf(listener)
		r := start(b, c)
		address = r.Addr().String()
		passed = func() {
			_, down := r.Stats()
			b.ReportMetric(float64(down.Dropped)/float64(max(down.Passed, 1))*100, "%dropped")
		}
	}
	conn, err := quic.DialAddr(b.Context(), address, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"bench"}}, config)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		conn.CloseWithError(0, "")
		listener.Close()
		<-served
	})
	stream, err := conn.OpenStreamSync(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	return stream, passed
}

func serveBytes(listener *quic.Listener) {
	conn, err := listener.Accept(context.Background())
	if err != nil {
		return
	}
	stream, err := conn.AcceptStream(context.Background())
	if err != nil {
		return
	}
	chunk := make([]byte, 1<<20)
	var request [8]byte
	for {
		if _, err := io.ReadFull(stream, request[:]); err != nil {
			return
		}
		for n := binary.LittleEndian.Uint64(request[:]); n > 0; n -= min(n, uint64(len(chunk))) {
			if _, err := stream.Write(chunk[:min(n, uint64(len(chunk)))]); err != nil {
				return
			}
		}
	}
}

func addressOf(listener *quic.Listener) netip.AddrPort {
	return listener.Addr().(*net.UDPAddr).AddrPort()
}

// dialBench connects to a server, over a relay if there is one.
func dialBench(b *testing.B, cfg *Config, server netip.AddrPort) *net.UDPConn {
	to := server
	if cfg != nil {
		c := *cfg
		c.Server = server
		to = start(b, c).Addr()
	}
	conn, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	return conn
}
