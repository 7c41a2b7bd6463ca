package paths

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lazymig/lazymig/bench/worker"
)

// congestion is the congestion control of the TCP flows, that of quic-go.
const congestion = "reno"

// flowed is what came over all TCP flows.
type flowed struct {
	Bytes uint64
	Took  time.Duration
}

// sendFlows sends noise to everyone who connects, as fast as Reno allows.
func sendFlows(ctx context.Context, j job, out io.Writer) error {
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error { return useReno(raw) }}
	listener, err := config.Listen(ctx, "tcp", net.JoinHostPort(j.Host, "0"))
	if err != nil {
		return fmt.Errorf("listen for TCP: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() }) // ends Accept
	defer stop()
	if err := worker.Say(out, ready{Address: listener.Addr().String()}); err != nil {
		return err
	}
	noise := flowNoise()
	for {
		conn, err := listener.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept a TCP flow: %w", err)
		}
		go func() { // ends with its reader, at the latest with the process
			defer conn.Close()
			for err := error(nil); err == nil; {
				_, err = conn.Write(noise)
			}
		}()
	}
}

// flowNoise is what a flow carries, again and again.
func flowNoise() []byte {
	noise := make([]byte, flowChunk)
	_, _ = rand.NewChaCha8([32]byte{2}).Read(noise) // never fails
	return noise
}

// useReno makes a socket, and those that it accepts, use Reno.
func useReno(raw syscall.RawConn) (err error) {
	if failed := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, congestion)
	}); failed != nil {
		return failed
	}
	if err != nil {
		return fmt.Errorf("have TCP use %s: %w", congestion, err)
	}
	return nil
}

// readFlows reads from some TCP connections at once.
func readFlows(ctx context.Context, j job, out io.Writer) error {
	if j.Flows < 1 || j.Flows > maxFlows {
		return fmt.Errorf("read %d TCP flows: want 1 to %d", j.Flows, maxFlows)
	}
	var came atomic.Uint64
	var wait sync.WaitGroup
	var conns []net.Conn
	defer wait.Wait()
	defer func() {
		for _, c := range conns {
			_ = c.Close() // ends its reader
		}
	}()
	failed := make(chan error, j.Flows)
	for range j.Flows {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", j.From)
		if err != nil {
			return fmt.Errorf("dial a TCP flow: %w", err)
		}
		conns = append(conns, conn)
		wait.Go(func() { failed <- readFlow(conn, &came) })
	}
	if err := pauseOr(ctx, j.Settle, failed); err != nil {
		return err
	}
	start, before := time.Now(), came.Load()
	if err := pauseOr(ctx, j.Budget, failed); err != nil {
		return err
	}
	return worker.Say(out, flowed{Bytes: came.Load() - before, Took: time.Since(start)})
}

// errFlow is returned for a flow that carries something else than was sent.
var errFlow = errors.New("other bytes came than were sent")

// readFlow counts what comes until the connection ends, and compares it.
func readFlow(conn net.Conn, count *atomic.Uint64) error {
	noise, buffer := flowNoise(), make([]byte, flowChunk)
	for at := 0; ; {
		n, err := conn.Read(buffer[:flowChunk-at])
		if !bytes.Equal(buffer[:n], noise[at:at+n]) {
			return errFlow
		}
		at = (at + n) % flowChunk
		count.Add(uint64(n))
		if err != nil {
			return err
		}
	}
}

// pauseOr waits. A flow that fails, or a parent that goes, ends it.
func pauseOr(ctx context.Context, d time.Duration, failed <-chan error) error {
	select {
	case <-time.After(d):
		return nil
	case err := <-failed:
		return errors.Join(errors.New("a TCP flow has ended"), err)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
