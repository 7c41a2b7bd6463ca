package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lazymig/lazymig/bench"
	"github.com/lazymig/lazymig/uffd"
	"github.com/rogpeppe/go-internal/testscript"
)

// noRaceSleep makes processes with a race detector end at once, not a second
// after they are done.
const noRaceSleep = "atexit_sleep_ms=0"

// harness runs the tests inside what the harness for guests needs.
type harness struct{ tests *testing.M }

// Run returns the exit code of the tests.
func (h harness) Run() int { return bench.Main(h.tests) }

// TestMain lets the test binary be lazymig when it is called by that name, so
// that scripts, tests (by way of PATH) and lazymig itself, which starts its
// engine and keeper from its own file, all run what is tested. Called
// lazymig-pretend it has an engine that moves nothing, called lazymig-confined
// it may not call userfaultfd.
func TestMain(m *testing.M) {
	if os.Getenv("GORACE") == "" {
		os.Setenv("GORACE", noRaceSleep) // for child processes
	}
	testscript.Main(harness{m}, map[string]func(){
		"lazymig":         func() { os.Exit(run(os.Args[1:])) },
		"lazymig-pretend": func() { os.Exit(pretend(os.Args[1:])) },
		"lazymig-vmm":     func() { os.Exit(testVMM(os.Args[1:])) },
		"lazymig-confined": func() {
			if err := forbidUserfaultfd(); err != nil {
				panic(err)
			}
			os.Exit(run(os.Args[1:]))
		},
	})
}

// TestScripts runs testdata/script/*.txtar.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("GORACE", noRaceSleep)
			program, err := exec.LookPath("lazymig")
			env.Setenv("BIN", filepath.Dir(program))
			return err
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":    scriptExits,
			"narrow":   scriptNarrow,
			"objects":  scriptObjects,
			"awaits":   scriptAwaits,
			"listen":   scriptListen,
			"terminal": scriptTerminal,
		},
		Condition:     scriptCondition,
		UpdateScripts: os.Getenv("UPDATE_SCRIPTS") != "",
	})
}

// scriptExits is `exits CODE COMMAND…`: exec that wants one exit code.
func scriptExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND [ARG…]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	code := 0
	err = ts.Exec(args[1], args[2:]...)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
}

// scriptNarrow is `narrow FILE`: no line of it is wider than a terminal.
func scriptNarrow(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: narrow FILE")
	}
	wide := 0
	for line := range lines(ts.ReadFile(args[0])) {
		if n := len([]rune(line)); n > 80 {
			ts.Logf("%d columns: %s", n, line)
			wide++
		}
	}
	if wide > 0 {
		ts.Fatalf("%d lines are wider than 80 columns", wide)
	}
}

// scriptObjects is `objects FILE`: it has lines, and each is a JSON object.
func scriptObjects(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: objects FILE")
	}
	text := strings.TrimSuffix(ts.ReadFile(args[0]), "\n")
	for line := range lines(text) {
		var object map[string]any
		if err := json.Unmarshal([]byte(line), &object); err != nil {
			ts.Fatalf("%v: %s", err, line)
		}
	}
}

// scriptAwaits is `awaits FILE TEXT`: the engine writes its log in its own time.
func scriptAwaits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: awaits FILE TEXT")
	}
	deadline := time.After(30 * time.Second)
	for !strings.Contains(ts.ReadFile(args[0]), args[1]) {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-deadline:
			ts.Fatalf("%s has no %s", args[0], args[1])
		}
	}
}

// scriptListen is `listen PATH TEXT`: a socket that greets with TEXT, for as
// long as the script runs.
func scriptListen(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: listen PATH TEXT")
	}
	listener, err := net.Listen("unix", ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Defer(greet(listener, args[1]))
}

// greet serves a listener until the returned function is called.
func greet(listener net.Listener, text string) (stop func()) {
	served := make(chan struct{})
	go func() {
		defer close(served)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second)) // a connection takes one
			_, _ = conn.Write([]byte(text + "\n"))                 // who does not listen does not
			conn.Close()
		}
	}()
	return func() {
		listener.Close()
		<-served
	}
}

// scriptCondition tells what this machine can do: mounts of its own, and
// userfaultfd.
func scriptCondition(name string) (bool, error) {
	switch name {
	case "mounts":
		return exec.Command("unshare", "-m", "mount", "-t", "tmpfs", "none", "/dev/shm").Run() == nil, nil
	case "userfaultfd":
		handle, err := uffd.Open()
		if err == nil {
			handle.Close()
		}
		return err == nil, nil
	}
	return false, fmt.Errorf("unknown condition %q", name)
}

// scriptTerminal is `terminal COLUMNS ROWS CODE COMMAND…`: exits on a terminal
// of that size. What it shows is on standard output, with all lines.
func scriptTerminal(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 4 {
		ts.Fatalf("usage: terminal COLUMNS ROWS CODE COMMAND [ARG…]")
	}
	var n [3]int
	for i := range n {
		var err error
		n[i], err = strconv.Atoi(args[i])
		ts.Check(err)
	}
	program, err := exec.LookPath(args[3])
	ts.Check(err)
	cmd := exec.Command(program, args[4:]...)
	cmd.Dir, cmd.Args[0] = ts.Getenv("WORK"), args[3]
	cmd.Env = append(os.Environ(), "GORACE="+noRaceSleep, "TERM=xterm")
	s, err := onTerminal(cmd, n[0], n[1], nil)
	code := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	fmt.Fprint(ts.Stdout(), s)
	if code != n[2] {
		ts.Fatalf("exit code %d, want %d", code, n[2])
	}
}
