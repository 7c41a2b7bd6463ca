package host

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/lazymig/lazymig/bench/leftover"
)

// all returns the processes of this machine.
func all() []int {
	entries, _ := os.ReadDir("/proc")
	var pids []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// inNamespace returns the processes of a network namespace.
func inNamespace(name string) []int {
	want, err := inodeOf("/run/netns/" + name)
	if err != nil {
		return nil
	}
	var pids []int
	for _, pid := range all() {
		if inode, err := inodeOf(filepath.Join("/proc", strconv.Itoa(pid), "ns/net")); err == nil && inode == want {
			pids = append(pids, pid)
		}
	}
	return pids
}

func inodeOf(path string) (uint64, error) {
	var s syscall.Stat_t
	if err := syscall.Stat(path, &s); err != nil {
		return 0, err
	}
	return s.Ino, nil
}

// Adopt makes this process the parent of those below it that lose theirs, so
// that a Machine finds all of them.
func Adopt() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("adopt orphaned processes: %w", err)
	}
	return nil
}

// descendants returns the processes below this one that live.
func descendants() []int {
	parents := map[int]int{}
	for _, pid := range all() {
		if parent, lives := parentOf(pid); lives {
			parents[pid] = parent
		}
	}
	var pids []int
	for pid := range parents {
		for up := parents[pid]; up > 1; up = parents[up] {
			if up == os.Getpid() {
				pids = append(pids, pid)
				break
			}
		}
	}
	return pids
}

// parentOf returns the parent of a process, and whether it lives: it has not
// ended and waits for its parent to look.
func parentOf(pid int) (parent int, lives bool) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, false
	}
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 2 {
		return 0, false
	}
	parent, err = strconv.Atoi(string(fields[1]))
	return parent, err == nil && string(fields[0]) != "Z"
}

// endDescendants kills the processes below this one, also those that they
// start meanwhile.
func endDescendants() error {
	for range clearRounds {
		pids := descendants()
		if len(pids) == 0 {
			return nil
		}
		var problems []error
		for _, pid := range pids {
			problems = append(problems, leftover.Kill(pid))
		}
		if err := errors.Join(problems...); err != nil {
			return err
		}
	}
	return fmt.Errorf("end all processes: %d are left", len(descendants()))
}
