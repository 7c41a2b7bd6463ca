package rawquic

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/quic-go/quic-go"
)

// The protocol: the client opens a stream and writes requests, each the
// number of bytes that it wants, as 8 bytes little-endian. The server writes
// that many. A request of 0 ends the stream.

// serve is the server's end.
func serve(ctx context.Context, j job) error {
	listener, conn, err := accept(ctx, j)
	if err != nil {
		return err
	}
	defer listener.Close()
	stream, err := conn.AcceptStream(ctx)
	if err != nil {
		return fmt.Errorf("accept a stream: %w", err)
	}
	data := make([]byte, chunk)
	if _, err := rand.Read(data); err != nil {
		return fmt.Errorf("make data: %w", err)
	}
	var used time.Duration
	for {
		n, err := readRequest(stream)
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		if n == j.Config.Bytes {
			used = cpu()
		}
		for ; n > 0; n -= min(n, chunk) {
			if _, err := stream.Write(data[:min(n, chunk)]); err != nil {
				return fmt.Errorf("send: %w", err)
			}
		}
	}
	// The client ends the bulk transfer with the request of 0, so all of its
	// cost is in.
	if err := say(Result{ServerCPU: cpu() - used}); err != nil {
		return err
	}
	return errors.Join(stream.Close(), conn.CloseWithError(0, ""))
}

// measure is the client's end.
func measure(ctx context.Context, j job) error {
	conn, err := dial(ctx, j)
	if err != nil {
		return fmt.Errorf("dial: %w", err)
	}
	stream, err := conn.OpenStreamSync(ctx)
	if err != nil {
		return fmt.Errorf("open a stream: %w", err)
	}
	buffer := make([]byte, chunk)
	var result Result
	if result.P50, result.P99, err = roundTrips(stream, buffer, j.Config.RoundTrips); err != nil {
		return err
	}
	start, used := time.Now(), cpu()
	if err := request(stream, buffer, j.Config.Bytes); err != nil {
		return err
	}
	result.BytesPerSecond = float64(j.Config.Bytes) / time.Since(start).Seconds()
	result.ClientCPU = cpu() - used
	if err := request(stream, buffer, 0); err != nil {
		return err
	}
	if err := say(result); err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, stream) // until the server has ended
	return conn.CloseWithError(0, "")
}

func roundTrips(stream *quic.Stream, buffer []byte, n int) (p50, p99 time.Duration, err error) {
	took := make([]time.Duration, n)
	for i := range took {
		start := time.Now()
		if err := request(stream, buffer, pageBytes); err != nil {
			return 0, 0, err
		}
		took[i] = time.Since(start)
	}
	slices.Sort(took)
	return took[n/2], took[n*99/100], nil
}

// request asks for n bytes and reads them.
func request(stream *quic.Stream, buffer []byte, n int64) error {
	if _, err := stream.Write(binary.LittleEndian.AppendUint64(nil, uint64(n))); err != nil {
		return fmt.Errorf("send a request: %w", err)
	}
	for n > 0 {
		got, err := stream.Read(buffer[:min(n, int64(len(buffer)))])
		if err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		n -= int64(got)
	}
	return nil
}

func readRequest(stream *quic.Stream) (int64, error) {
	var b [8]byte
	if _, err := io.ReadFull(stream, b[:]); err != nil {
		return 0, fmt.Errorf("receive a request: %w", err)
	}
	return int64(binary.LittleEndian.Uint64(b[:])), nil
}
