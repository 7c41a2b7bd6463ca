package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/lazymig/lazymig/internal/migrate"
	"go.uber.org/goleak"
)

// roleFrontEnd makes the test binary start an engine and wait to be killed.
const roleFrontEnd = "test-front-end"

// TestMain lets the test binary be every process of lazymig.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case roleEngine:
			os.Exit(Engine(runTestJob))
		case roleKeeper:
			os.Exit(Keeper(keepTest))
		case roleFrontEnd:
			frontEnd(os.Args[2])
			os.Exit(1)
		}
	}
	goleak.VerifyTestMain(m)
}

// What the test job does, in Job.QMP.
const (
	untilCancelled = "until-cancelled" // announce a state, tick, end when cancelled
	atOnce         = "at-once"         // end with code 3, an error and a hint
	withKeeper     = "with-keeper"     // the same as untilCancelled, with a keeper
	keeperEnds     = "keeper-ends"     // start a keeper, end it, end
)

type testEvent struct {
	Event string `json:"event"`
	State string `json:"state,omitempty"`
	Tick  int    `json:"tick,omitempty"`
	Procs int    `json:"procs,omitempty"`
}

type testSpec struct {
	File string
	Done bool
}

type hintError struct{}

func (hintError) Error() string { return "it broke" }
func (hintError) Hint() string  { return "mend it" }

func runTestJob(ctx context.Context, job Job, publish func(string, any)) Exit {
	dir, err := migrate.VMDir(job.StateDir, job.VM)
	if err != nil {
		return exitFor(exitFailed, err)
	}
	k := &keeperLink{vm: job.VM, dir: dir}
	spec := testSpec{File: filepath.Join(dir, "kept")}
	publish(lineState, testEvent{Event: lineState, State: "preparing", Procs: runtime.GOMAXPROCS(0)})
	switch job.QMP {
	case atOnce:
		return exitFor(3, fmt.Errorf("move: %w", hintError{}))
	case keeperEnds:
		final := spec
		final.Done = true
		return exitFor(exitDone, errors.Join(k.send(spec, false), k.send(spec, false), k.send(final, true)))
	case withKeeper:
		if err := k.send(spec, false); err != nil {
			return exitFor(exitFailed, err)
		}
	}
	publish(lineState, testEvent{Event: lineState, State: "running"})
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return exitFor(exitFailed, context.Cause(ctx))
		case <-tick.C:
			publish("progress", testEvent{Event: "progress", Tick: n})
		}
	}
}

// keepTest writes down how it ended.
func keepTest(_ context.Context, specs <-chan testSpec, gone <-chan struct{}) error {
	var spec testSpec
	for n := 0; ; n++ {
		select {
		case spec = <-specs:
			if spec.Done {
				return os.WriteFile(spec.File, fmt.Appendf(nil, "done after %d", n), 0o600)
			}
		case <-gone:
			return os.WriteFile(spec.File, []byte("gone"), 0o600)
		}
	}
}

// frontEnd shows what an engine tells until it fails.
func frontEnd(stateDir string) {
	s, err := Start(Job{Kind: KindSend, VM: "web1", StateDir: stateDir, QMP: untilCancelled})
	for err == nil {
		var line Line
		line, err = s.Next()
		fmt.Println(string(line.Raw))
	}
	fmt.Println(err)
}

// start starts an engine and ends it with the test.
func start(t *testing.T, job Job) *Session {
	t.Helper()
	job.Kind, job.VM = KindSend, "web1"
	s, err := Start(job)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { endEngine(t, s) })
	return s
}

// endEngine cancels what s follows and waits until it is no more.
func endEngine(t *testing.T, s *Session) {
	t.Helper()
	_ = s.Cancel() // it may have ended
	for {
		if _, err := s.Next(); err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, ErrDied) {
				t.Error(err)
			}
			break
		}
	}
	s.Close()
	if s.ended != nil {
		<-s.ended
	}
}

// next returns the next line of one kind.
func next[T any](t *testing.T, s *Session, kind string) T {
	t.Helper()
	for {
		line, err := s.Next()
		if err != nil {
			t.Fatalf("wait for a %s line: %v", kind, err)
		}
		if line.Kind != kind {
			continue
		}
		var v T
		if err := json.Unmarshal(line.Raw, &v); err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// eventually waits for a condition that no event announces.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s: not within 10 s", what)
		}
	}
}
