package agent

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// pair returns the hub's and the client's end of a connection.
func pair(t *testing.T) (hubs, clients *net.UnixConn) {
	t.Helper()
	hubs, file, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return hubs, conn.(*net.UnixConn)
}

func publish(t *testing.T, h *hub, e testEvent) {
	t.Helper()
	line, err := marshalLine(e)
	if err != nil {
		t.Fatal(err)
	}
	h.publish(e.Event, line)
}

func TestSlowClientIsDropped(t *testing.T) {
	h := newHub(Job{VM: "web1"})
	slowHub, slow := pair(t)
	fastHub, fast := pair(t)
	for _, conn := range []*net.UnixConn{slowHub, fastHub} {
		if _, err := h.join(conn); err != nil {
			t.Fatal(err)
		}
	}
	fastLines := bufio.NewScanner(fast)
	fastLines.Buffer(nil, maxLine)
	fastLines.Scan() // the snapshot
	padding := strings.Repeat("x", 1000)
	const lines = 10 * clientBuffer // more than buffers and sockets hold
	for n := 1; n <= lines; n++ {
		publish(t, h, testEvent{Event: "progress", Tick: n, State: padding})
		if !fastLines.Scan() || !strings.Contains(fastLines.Text(), fmt.Sprintf(`"tick":%d`, n)) {
			t.Fatalf("line %d: %.60q, %v", n, fastLines.Text(), fastLines.Err())
		}
	}
	slowLines, got := bufio.NewScanner(slow), 0
	for slowLines.Scan() {
		got++
	}
	if got == 0 || got >= lines {
		t.Errorf("the slow client got %d lines", got)
	}
	h.close()
}

func TestCloseDeliversTheLastLines(t *testing.T) {
	h := newHub(Job{VM: "web1"})
	hubs, conn := pair(t)
	if _, err := h.join(hubs); err != nil {
		t.Fatal(err)
	}
	for n := range clientBuffer / 2 {
		publish(t, h, testEvent{Event: "progress", Tick: n})
	}
	h.close()
	lines, got := bufio.NewScanner(conn), 0
	for lines.Scan() {
		got++
	}
	if got != 1+clientBuffer/2 {
		t.Errorf("%d lines", got)
	}
	if _, err := h.join(hubs); !errors.Is(err, net.ErrClosed) {
		t.Errorf("join a closed hub: %v", err)
	}
}

func TestCloseDoesNotWaitForASlowClient(t *testing.T) {
	h := newHub(Job{VM: "web1"})
	hubs, _ := pair(t)
	if _, err := h.join(hubs); err != nil {
		t.Fatal(err)
	}
	for range clientBuffer / 2 {
		publish(t, h, testEvent{Event: "progress", State: strings.Repeat("x", 10000)})
	}
	begin := time.Now()
	h.close()
	if took := time.Since(begin); took > flushTimeout+writeTimeout/2 {
		t.Errorf("close took %v", took)
	}
}

func TestTooManyClients(t *testing.T) {
	h := newHub(Job{VM: "web1"})
	defer h.close()
	for n := range maxClients + 1 {
		hubs, _ := pair(t)
		_, err := h.join(hubs)
		if want := n == maxClients; errors.Is(err, errTooMany) != want {
			t.Fatalf("client %d: %v", n, err)
		}
		if err != nil {
			hubs.Close()
		}
	}
}

func TestSocketIsPrivateAndSingle(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long/", 30)) // longer than a socket address
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, socketName), nil, 0o600); err != nil { // left by a crash
		t.Fatal(err)
	}
	s, err := listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, socketName))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	conn, err := connect(dir)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if _, err := listen(dir); !isBusy(err) || !strings.Contains(err.Error(), strconv.Itoa(os.Getpid())) {
		t.Errorf("a second engine: %v", err)
	}
	s.close()
	if _, err := connect(dir); !errors.Is(err, ErrNoEngine) {
		t.Errorf("connect after the end: %v", err)
	}
	s, err = listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	s.close()
}

func TestSocketOfSomebodyElseStays(t *testing.T) {
	dir := t.TempDir()
	listener, err := bind(dir) // without the lock
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if _, err := listen(dir); !isBusy(err) {
		t.Errorf("listen where somebody answers: %v", err)
	}
}

func isBusy(err error) bool {
	_, ok := errors.AsType[*BusyError](err)
	return ok
}

func TestLogIsPutAside(t *testing.T) {
	name := filepath.Join(t.TempDir(), "engine.log")
	if err := os.WriteFile(name, make([]byte, maxLog+1), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := openLog(name)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	old, err := os.Stat(name + ".1")
	if err != nil || old.Size() != maxLog+1 {
		t.Errorf("the old log: %v", err)
	}
	if info, err := log.Stat(); err != nil || info.Size() != 0 {
		t.Errorf("the new log: %v", err)
	}
}

func FuzzReadLine(f *testing.F) {
	f.Add("{}\n{\"event\":\"state\"}\nrest", 16)
	f.Add(strings.Repeat("x", 5000)+"\n", 16)
	f.Fuzz(func(t *testing.T, text string, size int) {
		r := bufio.NewReaderSize(strings.NewReader(text), 16+size&0xff)
		for _, want := range strings.SplitAfter(text, "\n") {
			line, err := readLine(r)
			if strings.HasSuffix(want, "\n") != (err == nil) {
				t.Fatalf("%q: %v", want, err)
			}
			if err == nil && string(line)+"\n" != want {
				t.Fatalf("%q, want %q", line, want)
			}
		}
	})
}
