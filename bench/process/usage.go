package process

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ticksPerSecond is the unit of times in /proc/PID/stat: USER_HZ, which is
// 100 on every Linux architecture that lazymig runs on.
const ticksPerSecond = 100

// Cost is what a process used until now.
type Cost struct {
	// RSS and PSS are resident memory in bytes, without the mappings that
	// were left out.
	RSS, PSS uint64
	// CPU is the time of all threads, user and kernel, in steps of 10 ms.
	CPU time.Duration
	// Descriptors is the number of open files.
	Descriptors int
	// Threads is the number of threads.
	Threads int
}

// Usage returns the cost of process pid. Mappings of files whose path begins
// with one of the prefixes, such as a guest's RAM file, do not count as its
// memory.
func Usage(pid int, without ...string) (Cost, error) {
	c, err := times(path(pid, "stat"))
	if err != nil {
		return Cost{}, err
	}
	if c.RSS, c.PSS, err = memory(pid, without); err != nil {
		return Cost{}, err
	}
	entries, err := os.ReadDir(path(pid, "fd"))
	if err != nil {
		return Cost{}, fmt.Errorf("count descriptors: %w", err)
	}
	c.Descriptors = len(entries)
	return c, nil
}

func path(pid int, name string) string {
	return filepath.Join("/proc", strconv.Itoa(pid), name)
}

// times reads CPU time and the number of threads from the file stat of a
// process or thread; the fields are counted behind the name, which may have
// spaces.
func times(file string) (Cost, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return Cost{}, fmt.Errorf("read the times of a process: %w", err)
	}
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 18 {
		return Cost{}, fmt.Errorf("read the times in %s: %d fields", file, len(fields))
	}
	var n [3]int
	for i, field := range []int{11, 12, 17} { // utime, stime, num_threads
		if n[i], err = strconv.Atoi(string(fields[field])); err != nil {
			return Cost{}, fmt.Errorf("read the times in %s: %w", file, err)
		}
	}
	return Cost{CPU: time.Duration(n[0]+n[1]) * (time.Second / ticksPerSecond), Threads: n[2]}, nil
}

// memory adds up /proc/PID/smaps.
func memory(pid int, without []string) (rss, pss uint64, err error) {
	f, err := os.Open(path(pid, "smaps"))
	if err != nil {
		return 0, 0, fmt.Errorf("read the memory of a process: %w", err)
	}
	defer f.Close()
	skip := false
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		switch {
		case len(fields) == 0:
		case !strings.HasSuffix(fields[0], ":"): // ADDRESSES MODE OFFSET DEVICE INODE [PATH]
			skip = len(fields) > 5 && hasPrefix(fields[5], without)
		case !skip && fields[0] == "Rss:":
			rss += kib(fields)
		case !skip && fields[0] == "Pss:":
			pss += kib(fields)
		}
	}
	return rss, pss, lines.Err()
}

func hasPrefix(path string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(path, p) {
			return true
		}
	}
	return false
}

func kib(fields []string) uint64 {
	n, err := strconv.ParseUint(fields[1], 10, 54)
	if err != nil {
		return 0
	}
	return n << 10
}
