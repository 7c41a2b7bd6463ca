package main

import (
	"os"
	"os/exec"
	"testing"
)

func TestLook(t *testing.T) {
	path := os.Getenv("LOOK")
	if path == "" {
		t.Skip()
	}
	n := 0
	s, err := onTerminal(exec.Command(path, "demo", "--vmm", "qemu"), 80, 24, func(s *screen) {
		if n++; n%12 == 0 {
			t.Logf("--- %d lines\n%s", len(s.lines), s)
		}
	})
	t.Logf("%v\n%s\n%q", err, s, s.faults)
}
