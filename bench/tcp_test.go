package bench_test

import (
	"io"
	"net"
	"testing"
	"time"
)

// send writes n zero bytes; an error shows at the receiver.
func send(conn net.Conn, n int64) {
	buffer := make([]byte, 64<<10)
	for n > 0 {
		m, err := conn.Write(buffer[:min(n, int64(len(buffer)))])
		if err != nil {
			return
		}
		n -= int64(m)
	}
}

// receive accepts a connection and returns when n bytes have come.
func receive(t *testing.T, listener net.Listener, n int64) time.Time {
	t.Helper()
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.CopyN(io.Discard, conn, n); err != nil {
		t.Fatal(err)
	}
	return time.Now()
}
