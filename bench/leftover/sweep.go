package leftover

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Sweep ends and removes what processes of the harness that have died left
// behind. Everything of living processes stays.
func Sweep(ctx context.Context) error {
	if err := sweep(ctx, orphaned); err != nil {
		return fmt.Errorf("sweep leftovers: %w", err)
	}
	return nil
}

// Guard removes everything with a name of this process when SIGINT or SIGTERM
// comes, and lets the signal end the process as it would have done. release
// ends the guard. It is for TestMain: clean-ups of tests do not run then.
func Guard() (release func()) {
	signals := make(chan os.Signal, 1)
	done := make(chan struct{})
	signal.Notify(signals, os.Interrupt, unix.SIGTERM)
	go serveSignals(signals, done)
	return func() {
		signal.Stop(signals)
		close(signals)
		<-done
	}
}

func serveSignals(signals <-chan os.Signal, done chan<- struct{}) {
	defer close(done)
	s, ok := <-signals
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), guardTimeout)
	defer cancel()
	if err := sweep(ctx, mine); err != nil {
		fmt.Fprintln(os.Stderr, "clean up after a signal:", err)
	}
	signal.Reset(s)
	if number, ok := s.(unix.Signal); ok {
		_ = unix.Kill(os.Getpid(), number)
	}
}

func sweep(ctx context.Context, likes func(text string) bool) error {
	var problems []error
	for _, pid := range processes(likes) {
		problems = append(problems, Kill(pid))
	}
	for _, path := range matching("/run/netns", likes) {
		problems = append(problems, RemoveNamespace(ctx, filepath.Base(path)))
	}
	for _, dir := range []string{"/dev/shm", os.TempDir()} {
		for _, path := range matching(dir, likes) {
			problems = append(problems, os.RemoveAll(path))
		}
	}
	return errors.Join(problems...)
}

// RemoveNamespace kills every process in a network namespace, which takes
// programs that a test started indirectly, and deletes the namespace.
func RemoveNamespace(ctx context.Context, name string) error {
	out, err := exec.CommandContext(ctx, "ip", "netns", "pids", name).Output()
	if err != nil {
		return fmt.Errorf("list the processes of namespace %s: %w", name, err)
	}
	var problems []error
	for field := range bytes.FieldsSeq(out) {
		pid, err := strconv.Atoi(string(field))
		if err == nil && pid != os.Getpid() {
			problems = append(problems, Kill(pid))
		}
	}
	if text, err := exec.CommandContext(ctx, "ip", "netns", "del", name).CombinedOutput(); err != nil {
		problems = append(problems, fmt.Errorf("delete namespace %s: %w: %s", name, err, bytes.TrimSpace(text)))
	}
	return errors.Join(problems...)
}

// Kill ends a process with SIGKILL and waits until it is dead. A process that
// has ended already is no error.
func Kill(pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open process %d: %w", pid, err)
	}
	defer unix.Close(fd)
	return KillFD(fd)
}

// KillFD is Kill for the process of a pidfd, which stays open.
func KillFD(pidfd int) error {
	if err := unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill a process: %w", err)
	}
	return WaitFD(pidfd, killTimeout)
}

// WaitFD waits until the process of a pidfd has ended. The error unwraps to
// os.ErrDeadlineExceeded if that takes longer than timeout.
func WaitFD(pidfd int, timeout time.Duration) error {
	deadline := time.Now().Add(timeout)
	for {
		wait := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
		n, err := unix.Poll(wait, int(max(0, time.Until(deadline).Milliseconds())))
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("wait for the end of a process: %w", err)
		case n == 0:
			return fmt.Errorf("wait for the end of a process: %w", os.ErrDeadlineExceeded)
		default:
			return nil
		}
	}
}

// matching returns the entries of dir whose name the function likes.
func matching(dir string, likes func(name string) bool) []string {
	entries, _ := os.ReadDir(dir)
	var paths []string
	for _, e := range entries {
		if likes(e.Name()) {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	return paths
}

// processes returns the processes, other than this one, whose command line
// the function likes.
func processes(likes func(commandLine string) bool) []int {
	entries, _ := os.ReadDir("/proc")
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err == nil && likes(string(line)) {
			pids = append(pids, pid)
		}
	}
	return pids
}
