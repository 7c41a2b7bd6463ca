package host

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/lazymig/lazymig/bench/link"
)

// Local is this machine, or a network namespace of it.
type Local struct {
	name, address string
	inside        []string // what stands before a program
	counters      func() (link.Counters, error)
	processes     func() []int // those that are watched
	clear         func() error
}

var _ Host = (*Local)(nil)

// errNoNetwork is returned by Counters on a machine that has no other host.
var errNoNetwork = errors.New("there is no network")

// Here is this machine without any network.
func Here() *Local {
	return &Local{
		name:      "here",
		counters:  func() (link.Counters, error) { return link.Counters{}, errNoNetwork },
		processes: func() []int { return nil },
		clear:     func() error { return nil },
	}
}

// Namespace is one side of a network, whose Close ends all processes there.
func Namespace(l *link.Link, side link.Side) *Local {
	h := Here()
	h.name, h.address = string(side), side.Address()
	h.inside = []string{"ip", "netns", "exec", l.Namespace(side)}
	h.counters = func() (link.Counters, error) { return l.Counters(side) }
	h.processes = func() []int { return inNamespace(l.Namespace(side)) }
	return h
}

// Machine is this machine as one of two: it watches and ends the processes
// that this one has started, and theirs. device is the name of the network card
// that leads to the other one.
func Machine(address string, device func() string) *Local {
	h := Here()
	h.address = address
	h.counters = func() (link.Counters, error) { return link.DeviceCounters(device()) }
	h.processes, h.clear = descendants, endDescendants
	return h
}

// Name returns the name of the namespace's side.
func (h *Local) Name() string { return h.name }

// Address returns the address for migration.
func (h *Local) Address() string { return h.address }

// Mkdir makes a folder.
func (*Local) Mkdir(path string) error { return os.Mkdir(path, 0o755) }

// Write makes a file.
func (*Local) Write(path string, content []byte, mode os.FileMode) error {
	return os.WriteFile(path, content, mode)
}

// Tail returns the end of a file.
func (*Local) Tail(path string, most int) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return ""
	}
	text := make([]byte, min(size, int64(most)))
	n, _ := f.ReadAt(text, size-int64(len(text))) // it may shrink
	return string(text[:n])
}

// Allocated returns how much the file that matches a pattern has.
func (*Local) Allocated(pattern string) (uint64, error) {
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) != 1 {
		return 0, fmt.Errorf("find %s: %d files, %w", pattern, len(paths), errors.Join(err, os.ErrNotExist))
	}
	var s syscall.Stat_t
	if err := syscall.Stat(paths[0], &s); err != nil {
		return 0, fmt.Errorf("find %s: %w", paths[0], err)
	}
	return uint64(s.Blocks) * 512, nil
}

// Remove removes what matches a pattern.
func (*Local) Remove(pattern string) error {
	paths, err := filepath.Glob(pattern)
	problems := []error{err}
	for _, path := range paths {
		problems = append(problems, os.RemoveAll(path))
	}
	return errors.Join(problems...)
}

// Reach returns the path itself.
func (*Local) Reach(path string) (string, error) { return path, nil }

// Clear ends all processes that were started.
func (h *Local) Clear() error { return h.clear() }

// Counters returns what went over the cable.
func (h *Local) Counters() (link.Counters, error) { return h.counters() }

// Clock says that it is the same.
func (*Local) Clock() (Clock, error) { return Clock{}, nil }

// Start starts a program.
func (h *Local) Start(c Command) (*Process, error) {
	args := append(append([]string{}, h.inside...), c.Args...)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = c.Stdout, c.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if c.Log != "" {
		log, err := os.Create(c.Log)
		if err != nil {
			return nil, fmt.Errorf("create a log: %w", err)
		}
		defer log.Close()
		cmd.Stdout, cmd.Stderr = log, log
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Args[0], err)
	}
	return NewProcess(cmd.Wait, func() { _ = cmd.Process.Kill() }), nil // it may have ended
}
