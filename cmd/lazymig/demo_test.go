package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lazymig/lazymig/internal/demo"
	"github.com/lazymig/lazymig/uffd"
)

// quick makes a demonstration short: a drain of a second and a half, in the
// middle of which a link can be cut.
var quick = []string{"--memory", "64MiB", "--bandwidth", "300Mbit", "--measure", "100ms"}

// requireDemo skips a test where this user may not trap faults.
func requireDemo(t *testing.T) {
	t.Helper()
	handle, err := uffd.Open()
	if err != nil {
		t.Skipf("skipped: %v", err)
	}
	handle.Close()
}

// demoCommand is `lazymig demo`, killed if it takes far too long.
func demoCommand(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	requireDemo(t)
	args = append(append([]string{"demo"}, quick...), args...) // the last one of a flag counts
	cmd := exec.CommandContext(t.Context(), "lazymig", args...)
	cmd.Env = append(os.Environ(), "GORACE="+noRaceSleep, "TERM=xterm")
	return cmd
}

// demoLeft lists what is there of a run with that name.
func demoLeft(name string) []string {
	var left []string
	for _, dir := range []string{"/dev/shm", os.TempDir()} {
		if path := filepath.Join(dir, name); exists(path) {
			left = append(left, path)
		}
	}
	paths, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, path := range paths {
		text, _ := os.ReadFile(path)
		if bytes.Contains(text, []byte("LAZYMIG_DEMO="+name)) {
			line, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
			left = append(left, filepath.Dir(path)+" "+strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return left
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// running is a demonstration that tells events.
type running struct {
	t      *testing.T
	cmd    *exec.Cmd
	out    io.Closer
	lines  *bufio.Scanner
	stderr bytes.Buffer
	name   string
}

func startDemo(t *testing.T, args ...string) *running {
	t.Helper()
	r := &running{t: t, cmd: demoCommand(t, append([]string{"--json"}, args...)...)}
	r.cmd.Stderr = &r.stderr
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	r.out, r.lines = out, bufio.NewScanner(out)
	r.lines.Buffer(nil, 1<<20)
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return r
}

// next returns the next event, or false at the end.
func (r *running) next() (demo.Event, bool) {
	r.t.Helper()
	if !r.lines.Scan() {
		return demo.Event{}, false
	}
	var e demo.Event
	if err := json.Unmarshal(r.lines.Bytes(), &e); err != nil {
		r.t.Fatalf("%v: %s", err, r.lines.Bytes())
	}
	if e.About != nil {
		r.name = e.About.Name
	}
	return e, true
}

// until reads events up to one of a kind.
func (r *running) until(kind string) {
	r.t.Helper()
	for {
		e, ok := r.next()
		if !ok {
			r.t.Fatalf("it ended before %s: %v\n%s", kind, r.cmd.Wait(), r.stderr.String())
		}
		if e.Event == kind {
			return
		}
	}
}

// rest reads all events that come, waits for the end, and wants that nothing
// is left.
func (r *running) rest(code int) (events []demo.Event) {
	r.t.Helper()
	for {
		e, ok := r.next()
		if !ok {
			break
		}
		events = append(events, e)
	}
	r.ends(code)
	return events
}

func (r *running) ends(code int) {
	r.t.Helper()
	err := r.cmd.Wait()
	got := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got = exit.ExitCode()
	} else if err != nil {
		r.t.Error(err)
	}
	if got != code {
		r.t.Errorf("exit code %d, want %d\n%s", got, code, r.stderr.String())
	}
	if left := demoLeft(r.name); len(left) > 0 {
		r.t.Errorf("left behind: %q", left)
	}
}

// TestDemo runs a demonstration with each VMM and reads its events.
func TestDemo(t *testing.T) {
	for _, vmm := range []string{"auto", "microvm", "qemu"} {
		t.Run(vmm, func(t *testing.T) {
			args := []string{"--vmm", vmm}
			if vmm == "qemu" {
				requireQEMU(t)
				args = append(args, "--memory", "256MiB", "--bandwidth", "1Gbit")
			}
			events := startDemo(t, args...).rest(0)
			var kinds []string
			for _, e := range events {
				kinds = append(kinds, e.Event)
			}
			want := []string{
				demo.EventBegin, demo.EventRunning, demo.EventSwitch, demo.EventSwitched, demo.EventProgress,
				demo.EventArrived, demo.EventVerifying, demo.EventVerified, demo.EventReport,
			}
			if got := slices.Compact(kinds); !slices.Equal(got, want) {
				t.Fatalf("events %q, want %q", got, want)
			}
			checkReport(t, *events[len(events)-1].Report)
			for _, e := range events {
				if e.Progress != nil {
					checkProgress(t, *e.Progress)
				}
			}
		})
	}
}

// checkReport wants that everything was measured.
func checkReport(t *testing.T, r demo.Report) {
	t.Helper()
	for what, n := range map[string]float64{
		"blackout": r.BlackoutMS, "gap": r.GapMS, "worst operation": r.WorstMS, "drain": r.DrainMS,
		"speed before": r.Before, "during": r.During, "after": r.After,
		"pages verified": float64(r.Verified.Pages), "beats": float64(r.Verified.Beats),
	} {
		if n <= 0 {
			t.Errorf("%s: %v", what, n)
		}
	}
	if r.Outcome != demo.OutcomeVerified || r.Verified.Wrong != 0 || !r.Removed || r.Stall != nil || r.GapMS < r.BlackoutMS/2 {
		t.Errorf("report %+v", r)
	}
	to := r.Destination
	if sum := to.PagesZero + to.PagesDemand + to.PagesBulk; sum != to.PagesTotal || to.PagesDemand == 0 || to.PagesBulk == 0 {
		t.Errorf("pages of %d: %d zero, %d on demand, %d in the background", to.PagesTotal, to.PagesZero, to.PagesDemand, to.PagesBulk)
	}
}

// checkProgress wants that the map agrees with itself.
func checkProgress(t *testing.T, p demo.Progress) {
	t.Helper()
	if p.Map == nil || p.Map.Cells != demo.MapCells || p.Map.Pages != p.Total {
		t.Fatalf("no map of %d pages: %+v", p.Total, p.Map)
	}
	var known uint64
	for _, list := range [][]uint64{p.Map.Zero, p.Map.Demand, p.Map.Bulk, p.Map.Discarded, p.Map.Poisoned} {
		for _, n := range list {
			known += n
		}
	}
	if known > p.Total {
		t.Errorf("the map has %d pages of %d", known, p.Total)
	}
}

// requireQEMU skips a test where the Linux guest cannot be made.
func requireQEMU(t *testing.T) {
	t.Helper()
	for _, tool := range []string{"qemu-system-x86_64", "gcc", "busybox"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatal(err)
			}
			t.Skipf("skipped: %v", err)
		}
	}
}

// TestDemoBreak cuts the link in the middle of the drain.
func TestDemoBreak(t *testing.T) {
	const cut = 2 * time.Second
	events := startDemo(t, "--break-link", cut.String()).rest(0)
	seen := map[string]int{}
	for _, e := range events {
		seen[e.Event]++
	}
	if seen[demo.EventCut] != 1 || seen[demo.EventWhole] != 1 || seen[demo.EventStall] != 1 {
		t.Errorf("events %v", seen)
	}
	r := *events[len(events)-1].Report
	s := r.Stall
	if s == nil || s.CutMS < 2000 || s.StalledMS < 1000 || s.AfterMS <= 0 || r.DrainMS < s.CutMS || r.Destination.Reconnects == 0 {
		t.Errorf("stall %+v in a drain of %v ms, %d reconnects", s, r.DrainMS, r.Destination.Reconnects)
	}
}

// TestDemoPlain checks what a demonstration writes into a file: lines that fit,
// and nothing for terminals.
func TestDemoPlain(t *testing.T) {
	out, err := demoCommand(t).Output()
	if err != nil {
		t.Fatal(err)
	}
	checkStory(t, string(out))
	if i := bytes.IndexFunc(out, func(r rune) bool { return r < ' ' && r != '\n' }); i >= 0 {
		t.Errorf("control character %q", out[i])
	}
}

// checkStory wants all parts of the story, in lines that fit.
func checkStory(t *testing.T, text string) {
	t.Helper()
	for _, part := range []string{
		"mutual TLS", "\n1. ", "page operations in a second", "\n2. ", "paused for", "\n3. ", ". missing", "%% here",
		"All memory is there", "\n4. ", "0 wrong", "Report\n", "stood still", "made is removed again",
	} {
		part = strings.ReplaceAll(part, "%%", "%")
		if !strings.Contains(text, part) {
			t.Errorf("nothing of %q", part)
		}
	}
	for line := range strings.Lines(text) {
		if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > lineWidth {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}

// TestDemoTerminal watches a demonstration on the smallest terminal: the page
// map stays where it is, nothing is drawn twice, nothing wraps.
func TestDemoTerminal(t *testing.T) {
	frames, maps := 0, map[string]bool{}
	s, err := onTerminal(demoCommand(t), paperColumns, paperRows, func(s *screen) {
		text := s.String()
		if n := strings.Count(text, ". missing"); n > 1 {
			t.Errorf("the map is there %d times:\n%s", n, text)
		} else if n == 1 && !strings.Contains(text, "All memory") {
			frames++
			maps[text] = true
		}
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, s)
	}
	checkStory(t, s.String())
	if len(s.faults) > 0 {
		t.Errorf("on the terminal: %q", s.faults)
	}
	if len(maps) < 3 {
		t.Errorf("%d frames of the map, %d of them differ", frames, len(maps))
	}
}

// TestDemoInterrupted ends demonstrations early, by each signal and by a pipe
// that is closed, in each part of the story: nothing may be left.
func TestDemoInterrupted(t *testing.T) {
	signals := []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT}
	kinds := []string{
		demo.EventBegin, demo.EventRunning, demo.EventSwitch, demo.EventSwitched, demo.EventProgress,
		demo.EventCut, demo.EventWhole, demo.EventArrived, demo.EventVerifying,
	}
	for i, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			r := startDemo(t, "--break-link", "1s")
			r.until(kind)
			if err := r.cmd.Process.Signal(signals[i%len(signals)]); err != nil {
				t.Fatal(err)
			}
			events := r.rest(1)
			report := events[len(events)-1].Report
			if report == nil || report.Outcome != demo.OutcomeFailed || !strings.Contains(report.Error, "stopped by") || !report.Removed {
				t.Errorf("report %+v", report)
			}
		})
	}
	t.Run("pipe", func(t *testing.T) {
		r := startDemo(t, "--break-link", "1s")
		r.until(demo.EventProgress)
		r.out.Close()
		r.ends(1)
	})
	t.Run("terminal", func(t *testing.T) {
		cmd, stopped := demoCommand(t), false
		s, err := onTerminal(cmd, 80, 24, func(s *screen) {
			if !stopped && strings.Contains(s.String(), ". missing") {
				stopped = true
				_ = cmd.Process.Signal(syscall.SIGINT) // or it has ended, which is seen below
			}
		})
		if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 {
			t.Errorf("it ended with %v", err)
		}
		if text := s.String(); !strings.Contains(text, "Everything that it made is removed") || !strings.Contains(text, "stopped by") || len(s.faults) > 0 {
			t.Errorf("%q\n%s", s.faults, text)
		}
	})
}

// TestDemoKilled kills a demonstration, and each of the processes that it
// needs: the first leaves everything to the next demonstration, the others to
// the one that they belong to.
func TestDemoKilled(t *testing.T) {
	r := startDemo(t, "--measure", "1s", "--break-link", "1m")
	r.until(demo.EventCut)
	if err := r.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = r.cmd.Wait() // killed
	if len(demoLeft(r.name)) < 2 {
		t.Fatalf("a killed demonstration left %q", demoLeft(r.name))
	}
	startDemo(t).rest(0)
	if left := demoLeft(r.name); len(left) > 0 {
		t.Errorf("the next one left %q of it", left)
	}

	for _, role := range []string{"receive", "send", "engine", "microvm"} {
		t.Run(role, func(t *testing.T) {
			r := startDemo(t, "--break-link", "1s")
			r.until(demo.EventCut)
			killed := 0
			for _, process := range demoLeft(r.name) {
				var pid int
				if _, err := fmt.Sscanf(process, "/proc/%d ", &pid); err == nil && slices.Contains(strings.Fields(process), role) && killed == 0 {
					killed++
					_ = syscall.Kill(pid, syscall.SIGKILL) // or it has just ended
				}
			}
			if killed == 0 {
				t.Fatalf("no %s among %q", role, demoLeft(r.name))
			}
			events := r.rest(1)
			if report := events[len(events)-1].Report; report.Error == "" || report.Hint == "" && role == "engine" {
				t.Errorf("report %+v", report)
			}
		})
	}
}

// TestDemoLoop moves guests again and again in one process: all of them are
// verified, and no process, descriptor or file is left. The full form is for
// `make e2e-full`.
func TestDemoLoop(t *testing.T) {
	runs := repeats(20, 1000)
	r := startDemo(t, "--memory", "16MiB", "--measure", "50ms", "--repeat", fmt.Sprint(runs), "--log-dir", filepath.Join(t.TempDir(), "logs"))
	verified := 0
	var open []int // descriptors at each run's beginning; the process goes on meanwhile
	var names []string
	begun := time.Now()
	for {
		e, ok := r.next()
		if !ok {
			break
		}
		switch {
		case e.About != nil:
			names = append(names, e.About.Name)
			open = append(open, descriptors(t, r.cmd.Process.Pid))
		case e.Report != nil && e.Report.Outcome == demo.OutcomeVerified:
			verified++
		case e.Report != nil:
			t.Errorf("run %d: %s", len(names), e.Report.Error)
		}
	}
	r.ends(0)
	if verified != runs || len(open) != runs {
		t.Fatalf("%d of %d runs were verified", verified, runs)
	}
	if early, late := slices.Max(open[:5]), slices.Min(open[len(open)-5:]); late > early {
		t.Errorf("at least %d descriptors in each of the last five runs, at most %d in the first five", late, early)
	}
	for _, name := range names {
		if left := demoLeft(name); len(left) > 0 {
			t.Errorf("left behind: %q", left)
		}
	}
	t.Logf("%d runs in %v", verified, time.Since(begun).Round(time.Second))
}

func descriptors(t *testing.T, pid int) int {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
