package machine

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Info is the machine, and the program that measured on it. What cannot be
// found out is empty or zero.
type Info struct {
	CPU         string `json:"cpu"`
	Cores       int    `json:"cores"`
	MemoryBytes uint64 `json:"memory_bytes"`
	Kernel      string `json:"kernel"`
	Go          string `json:"go"`
	Commit      string `json:"commit"`
	// Load1 is how many threads ran or wanted to in the minute before: what
	// else the machine did.
	Load1 float64 `json:"load1"`
}

// Describe returns the machine as it is now. commit is the program's.
func Describe(commit string) Info {
	info := Info{Cores: runtime.NumCPU(), Go: runtime.Version(), Commit: commit, CPU: model()}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		info.Kernel = unix.ByteSliceToString(name.Release[:])
	}
	var s unix.Sysinfo_t
	if unix.Sysinfo(&s) == nil {
		info.MemoryBytes = uint64(s.Totalram) * uint64(s.Unit)
	}
	info.Load1 = load()
	return info
}

func model() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		if key, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func load() float64 {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(text), " ")
	n, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return 0
	}
	return n
}

// String is one line for people.
func (i Info) String() string {
	cpu := i.CPU
	if cpu == "" {
		cpu = "unknown CPU"
	}
	commit := i.Commit
	if commit == "" {
		commit = "unknown"
	}
	return fmt.Sprintf("%s, %d cores, %d GiB, Linux %s, %s, commit %s, load average %.2f before",
		cpu, i.Cores, (i.MemoryBytes+1<<29)>>30, i.Kernel, i.Go, commit, i.Load1)
}
