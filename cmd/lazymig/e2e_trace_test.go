package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTrace records what a guest touches behind its switch, and replays it.
func TestTrace(t *testing.T) {
	m := newMover(t, smallGuest())
	path := filepath.Join(t.TempDir(), "trace")
	if keep := os.Getenv("LAZYMIG_TRACE"); keep != "" {
		path = keep
	}
	receive, send := m.receive("--trace", path, "--trace-for", "2s"), m.send()
	send.exits(0)
	receive.exits(0)
	m.moved()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(string(text), "\n"); lines < 100 {
		t.Errorf("the trace has %d lines", lines)
	}
	replay := m.runHere("bench", "prefetch", path, "--rtt", "1ms")
	replay.exits(0)
	m.verify()
}
