package quictransport

import (
	"crypto/rand"
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/internal/wire"
)

// The benchmarks stand in pairs, a Link with frames and raw quic-go with its
// own defaults, to be compared within one run:
//
//	go test -run '^$' -bench . -benchtime 2s ./quictransport

const bulkChunk = wire.MaxPages * lazymig.PageSize

// rawPair returns both ends of a stream of raw quic-go.
func rawPair(b *testing.B) (client, server *quic.Stream) {
	b.Helper()
	id := insecure(b)
	l := listenRaw(b, id.serverTLS(""), nil)
	c, err := quic.DialAddr(b.Context(), l.Addr().String(), id.clientTLS(""), nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.CloseWithError(0, "") })
	if client, err = c.OpenStream(); err != nil {
		b.Fatal(err)
	}
	if _, err := client.Write([]byte("first")); err != nil {
		b.Fatal(err)
	}
	accepted, err := l.Accept(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	if server, err = accepted.AcceptStream(b.Context()); err != nil {
		b.Fatal(err)
	}
	if _, err := io.ReadFull(server, make([]byte, len("first"))); err != nil {
		b.Fatal(err)
	}
	return client, server
}

// reportLatency reports percentiles of what was measured.
func reportLatency(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/1e3, "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds())/1e3, "p99-µs")
}

// servePages answers each Request with its pages, as a source does.
func servePages(s Stream) error {
	builder, digest := wire.NewPagesBuilder(), [32]byte{}
	var payload []byte
	var runs []lazymig.Run
	for {
		var err error
		if _, payload, err = wire.ReadFrameOf(s, payload[:0], wire.TypeRequest); err != nil {
			return err
		}
		r, err := wire.ParseRequestInto(runs, payload)
		if err != nil {
			return err
		}
		runs = r.Runs
		for _, run := range runs {
			builder.Reset(run.First)
			for range run.Count {
				builder.AddData(builder.Room()[:lazymig.PageSize], &digest)
			}
			if _, err := s.Write(builder.Frame()); err != nil {
				return err
			}
		}
	}
}

// fetch asks for one run and reads the answer.
func fetch(s Stream, run lazymig.Run, request, payload []byte) ([]byte, []byte, error) {
	request = wire.Request{Runs: []lazymig.Run{run}}.Append(request[:0])
	if _, err := s.Write(request); err != nil {
		return request, payload, err
	}
	_, payload, err := wire.ReadFrameOf(s, payload[:0], wire.TypePages)
	if err != nil {
		return request, payload, err
	}
	_, err = wire.ParsePages(payload)
	return request, payload, err
}

func benchmarkRoundTrip(b *testing.B, destination Stream) {
	var request, payload []byte
	var err error
	took := make([]time.Duration, 0, b.N)
	for b.Loop() {
		start := time.Now()
		if request, payload, err = fetch(destination, lazymig.Run{First: 7, Count: 1}, request, payload); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
	}
	reportLatency(b, took)
}

// BenchmarkRoundTrip asks for one page and gets it.
func BenchmarkRoundTrip(b *testing.B) {
	source, destination := pair(b, Config{})
	go func() { _ = servePages(source.Demand()) }()
	benchmarkRoundTrip(b, destination.Demand())
}

// BenchmarkRoundTripUnderBulk does so while bulk pages come as fast as they can.
func BenchmarkRoundTripUnderBulk(b *testing.B) {
	source, destination := pair(b, Config{})
	go func() { _ = servePages(source.Demand()) }()
	go func() { _ = servePages(source.Bulk()[0]) }()
	go func() {
		var request, payload []byte
		var err error
		for err == nil {
			request, payload, err = fetch(destination.Bulk()[0], lazymig.Run{First: 64, Count: wire.MaxPages}, request, payload)
		}
	}()
	benchmarkRoundTrip(b, destination.Demand())
}

// BenchmarkRoundTripRaw sends and gets the same number of bytes.
func BenchmarkRoundTripRaw(b *testing.B) {
	client, server := rawPair(b)
	answer := make([]byte, lazymig.PageSize+53)
	question := make([]byte, 32)
	go func() {
		in := make([]byte, len(question))
		for {
			if _, err := io.ReadFull(client, in); err != nil {
				return
			}
			if _, err := client.Write(answer); err != nil {
				return
			}
		}
	}()
	in := make([]byte, len(answer))
	took := make([]time.Duration, 0, b.N)
	for b.Loop() {
		start := time.Now()
		if _, err := server.Write(question); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(server, in); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
	}
	reportLatency(b, took)
}

// sendPages writes full frames until the link ends.
func sendPages(s Stream) error {
	builder, digest := wire.NewPagesBuilder(), [32]byte{}
	builder.Reset(0)
	_, _ = rand.Read(builder.Room()) // never fails
	for i := 0; ; i++ {
		builder.Reset(lazymig.PageNumber(i) * wire.MaxPages)
		for range wire.MaxPages {
			builder.AddData(builder.Room()[:lazymig.PageSize], &digest)
		}
		if _, err := s.Write(builder.Frame()); err != nil {
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		}
	}
}

// BenchmarkBulk reads frames of 256 KiB from one bulk connection.
func BenchmarkBulk(b *testing.B) {
	source, destination := pair(b, Config{})
	go func() {
		if err := sendPages(source.Bulk()[0]); err != nil {
			b.Error(err)
		}
	}()
	b.SetBytes(bulkChunk)
	var payload []byte
	for b.Loop() {
		var err error
		if _, payload, err = wire.ReadFrameOf(destination.Bulk()[0], payload[:0], wire.TypePages); err != nil {
			b.Fatal(err)
		}
		if f, err := wire.ParsePages(payload); err != nil || f.DataCount() != wire.MaxPages {
			b.Fatal(err)
		}
	}
}

// BenchmarkBulkRaw reads the same from raw quic-go.
func BenchmarkBulkRaw(b *testing.B) {
	client, server := rawPair(b)
	go func() {
		buf := make([]byte, bulkChunk)
		for {
			if _, err := client.Write(buf); err != nil {
				return
			}
		}
	}()
	b.SetBytes(bulkChunk)
	buf := make([]byte, bulkChunk)
	for b.Loop() {
		if _, err := io.ReadFull(server, buf); err != nil {
			b.Fatal(err)
		}
	}
}
