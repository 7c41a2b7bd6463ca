package metal

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// message is one line in either direction: a call or its answer, or a part of
// a stream. The driver numbers calls, streams, sockets and processes.
type message struct {
	ID     uint64          `json:"id,omitempty"` // of a call and its answer
	Call   string          `json:"call,omitempty"`
	Args   json.RawMessage `json:"args,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  string          `json:"error,omitempty"`

	Stream uint64 `json:"stream,omitempty"`
	Data   []byte `json:"data,omitempty"`
	End    bool   `json:"end,omitempty"`

	// Hello is the helper's first word: what it was started as.
	Hello string `json:"hello,omitempty"`
}

// The arguments and results of calls.
type (
	fileArgs struct {
		Path   string      `json:"path"`
		Data   []byte      `json:"data,omitempty"`
		Append bool        `json:"append,omitempty"`
		Hole   int64       `json:"hole,omitempty"` // bytes that stand before Data
		Mode   os.FileMode `json:"mode,omitempty"`
		Most   int         `json:"most,omitempty"`
	}
	startArgs struct {
		Process uint64   `json:"process"`
		Args    []string `json:"args"`
		Log     string   `json:"log,omitempty"`
		Stdout  uint64   `json:"stdout,omitempty"` // streams
		Stderr  uint64   `json:"stderr,omitempty"`
	}
	numberArgs struct {
		Number uint64 `json:"number"` // of a process, socket or stream
	}
	socketArgs struct {
		Number  uint64        `json:"number"`
		Path    string        `json:"path,omitempty"`
		Stream  uint64        `json:"stream,omitempty"`
		Timeout time.Duration `json:"timeout,omitempty"`
	}
	excludeArgs struct {
		PID    int    `json:"pid"`
		VCPUs  []int  `json:"vcpus"`
		Memory uint64 `json:"memory"`
	}
	factsArgs struct {
		QEMU string `json:"qemu"`
	}
	reachArgs struct {
		UDP string `json:"udp"` // HOST:PORT
		TCP string `json:"tcp"`
	}
	routeArgs struct {
		Address string `json:"address"`
	}
)

// writer writes lines. Its method may be called from any goroutine.
type writer struct {
	mu  sync.Mutex // held while a line is written
	out io.Writer
}

func (w *writer) send(m message) error {
	line, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode a message: %w", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, err := w.out.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("send a message: %w", err)
	}
	return nil
}

func newScanner(in io.Reader) *bufio.Scanner {
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	return lines
}
