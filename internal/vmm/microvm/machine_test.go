package microvm

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lazymig/lazymig"
)

// console collects a heartbeat.
type console struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.Write(p)
}

func (c *console) lines() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Fields(c.text.String())
}

// startMachine runs a machine's vCPU until the test ends.
func startMachine(t *testing.T, memory []byte, p program, serial *console) *machine {
	t.Helper()
	m := newMachine(&native{program: p, memory: memory}, p, memory, serial)
	ended := make(chan error, 1)
	go func() { ended <- m.serveCPU() }()
	t.Cleanup(func() {
		m.end(nil)
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return m
}

// TestStopAndGo stops a guest again and again, and moves it to another machine
// in the middle: nothing is lost, and the clock stands still meanwhile.
func TestStopAndGo(t *testing.T) {
	p, memory := testMemory(t, 300)
	m := startMachine(t, memory, p, &console{})
	var last State
	for i := range 40 {
		if _, err := m.run(false); err != nil {
			t.Fatal(err)
		}
		if _, err := m.run(false); err != nil {
			t.Fatalf("a guest that runs goes on: %v", err)
		}
		if err := m.load(State{}); err == nil {
			t.Fatal("a state was loaded into a guest that runs")
		}
		ran := time.Now()
		<-time.After(time.Duration(i%3) * time.Millisecond) // it runs for a while
		s, at, err := m.stop(false)
		if err != nil || at.IsZero() {
			t.Fatal(at, err)
		}
		if s.Ops < last.Ops || s.Clock < last.Clock || s.Clock-last.Clock > time.Since(ran)+time.Second || s.Registers.Errors > 0 {
			t.Fatalf("%+v behind %+v", s, last)
		}
		if v := p.verify(memory, s.Registers); v.Wrong > 0 {
			t.Fatalf("stop %d: %+v", i, v)
		}
		if again, at, err := m.stop(false); again != s || !at.IsZero() || err != nil {
			t.Fatalf("stopped again: %+v at %v, %v", again, at, err)
		}
		last = s
		if i == 20 {
			m = startMachine(t, memory, p, &console{})
			if err := m.load(s); err != nil {
				t.Fatal(err)
			}
		}
	}
	if last.Ops == 0 {
		t.Error("the guest has done nothing")
	}
}

// TestBeatsGoOn beats through a stop without losing or repeating a number.
func TestBeatsGoOn(t *testing.T) {
	p, memory := testMemory(t, 300)
	serial := &console{}
	m := startMachine(t, memory, p, serial)
	for range 5 {
		if _, err := m.run(false); err != nil {
			t.Fatal(err)
		}
		for want := len(serial.lines()) + 12; len(serial.lines()) < want; {
			<-time.After(time.Millisecond) // there is no event for a beat
		}
		if v, err := m.verify(); err != nil || v.Wrong+uint64(v.Errors) > 0 || !m.isRunning() {
			t.Fatalf("%+v, %v", v, err)
		}
		if _, _, err := m.stop(false); err != nil {
			t.Fatal(err)
		}
	}
	fields := serial.lines()
	if len(fields)%4 != 0 {
		t.Fatalf("%d fields", len(fields))
	}
	for i := 0; i < len(fields); i += 4 {
		if want := i/4 + 1; fields[i] != strings.ToLower(hex(want)) {
			t.Fatalf("beat %d has number %s", want, fields[i])
		}
	}
}

func hex(n int) string {
	const digits = "0123456789abcdef"
	if n < 16 {
		return digits[n : n+1]
	}
	return hex(n/16) + digits[n%16:n%16+1]
}

// TestCrash ends a machine whose vCPU fails.
func TestCrash(t *testing.T) {
	p, memory := testMemory(t, 300)
	m := newMachine(&broken{}, p, memory, nil)
	ended := make(chan error, 1)
	go func() { ended <- m.serveCPU() }()
	if _, err := m.run(false); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, errGuest) {
		t.Errorf("ended by %v", err)
	}
	if _, _, err := m.stop(false); !errors.Is(err, errGuest) {
		t.Errorf("stopped: %v", err)
	}
	if _, err := m.run(false); err == nil {
		t.Error("a guest that has ended was let run")
	}
}

// broken is a vCPU whose guest crashes.
type broken struct{ native }

func (*broken) operate() error { return errGuest }

func TestParseState(t *testing.T) {
	const size = 300 * lazymig.PageSize
	good := State{Version: stateVersion, Size: size, Registers: Registers{Position: 3, Pass: 2, Left: 1}, Ops: 9}
	for name, x := range map[string]struct {
		change func(*State)
		ok     bool
	}{
		"as it was":      {func(*State) {}, true},
		"never run":      {func(s *State) { *s = State{Version: stateVersion, Size: size} }, true},
		"version":        {func(s *State) { s.Version++ }, false},
		"size":           {func(s *State) { s.Size *= 2 }, false},
		"position":       {func(s *State) { s.Registers.Position = math.MaxUint32 }, false},
		"left":           {func(s *State) { s.Registers.Left = math.MaxUint32 }, false},
		"negative clock": {func(s *State) { s.Clock = -1 }, false},
	} {
		s := good
		x.change(&s)
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		got, err := parseState(text, size)
		if (err == nil) != x.ok || x.ok && got != s || !x.ok && !errors.Is(err, ErrState) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func FuzzParseState(f *testing.F) {
	f.Add([]byte(`{"version":1,"size":1228800,"registers":{"position":1,"pass":1,"left":1,"errors":0}}`))
	f.Add([]byte(`{`))
	f.Fuzz(func(t *testing.T, text []byte) {
		const size = 300 * lazymig.PageSize
		s, err := parseState(text, size)
		if err != nil {
			return
		}
		p := newProgram(size)
		r := s.Registers
		p.next(&r) // ends
		if r.Position >= p.used {
			t.Errorf("%+v leads to %+v", s.Registers, r)
		}
	})
}

func TestParseArgs(t *testing.T) {
	good := []string{"--name", "a", "--ram", "/dev/shm/a", "--size", "1048576", "--control", "/run/a.sock"}
	with := func(more ...string) []string { return append(append([]string{}, good...), more...) }
	if c, err := ParseArgs(with("--accel", "native")); err != nil || c.Accel != AccelNative || c.Size != 1<<20 {
		t.Errorf("%+v, %v", c, err)
	}
	c, err := ParseArgs(good)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := ParseArgs(c.args("lazymig")[2:]); err != nil || again != c {
		t.Errorf("%+v, %v, want %+v", again, err, c)
	}
	for name, args := range map[string][]string{
		"none": {}, "unknown": with("--disk", "x"), "a word": with("x"), "no number": with("--size", "x"),
		"too small": with("--size", "4096"), "too large": with("--size", "4294967296"), "half a page": with("--size", "1050000"),
		"accelerator": with("--accel", "hvf"), "relative": with("--ram", "a"), "no name": with("--name", ""),
	} {
		if _, err := ParseArgs(args); !errors.Is(err, ErrUsage) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if !IsCommandLine([]string{"/usr/bin/lazymig", "microvm"}) || IsCommandLine([]string{"qemu-system-x86_64", "-m", "1G"}) {
		t.Error("command lines are mistaken")
	}
}
