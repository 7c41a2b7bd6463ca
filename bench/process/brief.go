package process

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Brief is the part of a Cost that can be read many times a second, also of a
// process with a large memory.
type Brief struct {
	// CPU is the time of all threads, also of those that have ended, in steps
	// of 10 ms.
	CPU time.Duration
	// Anonymous is the resident memory in bytes that belongs to no file.
	Anonymous uint64
}

// Look returns the brief cost of process pid.
func Look(pid int) (Brief, error) {
	c, err := times(path(pid, "stat"))
	if err != nil {
		return Brief{}, err
	}
	f, err := os.Open(path(pid, "status"))
	if err != nil {
		return Brief{}, fmt.Errorf("read the memory of a process: %w", err)
	}
	defer f.Close()
	b := Brief{CPU: c.CPU}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if fields := strings.Fields(lines.Text()); len(fields) > 1 && fields[0] == "RssAnon:" {
			b.Anonymous = kib(fields)
		}
	}
	return b, lines.Err()
}

// ThreadCPU returns the time of one thread of process pid, in steps of 10 ms.
func ThreadCPU(pid, thread int) (time.Duration, error) {
	c, err := times(path(pid, filepath.Join("task", strconv.Itoa(thread), "stat")))
	return c.CPU, err
}
