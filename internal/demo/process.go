package demo

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// markVariable has the name of the workplace in the environment of every
// process that a run starts, and of those that these start.
const markVariable = "LAZYMIG_DEMO"

// marked returns the living processes of a workplace, other than this one.
func marked(name string) []int {
	entries, _ := os.ReadDir("/proc")
	mark := []byte(markVariable + "=" + name)
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		environment, err := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		if err != nil {
			continue // of another user, or ended meanwhile
		}
		for variable := range bytes.SplitSeq(environment, []byte{0}) {
			if bytes.Equal(variable, mark) {
				pids = append(pids, pid)
				break
			}
		}
	}
	return pids
}

// killMarked ends all processes of a workplace, also those that they start
// meanwhile.
func killMarked(name string) error {
	deadline := time.Now().Add(killTimeout)
	for {
		pids := marked(name)
		if len(pids) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("end the processes %v: %w", pids, os.ErrDeadlineExceeded)
		}
		for _, pid := range pids {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("end process %d: %w", pid, err)
			}
		}
		time.Sleep(killPoll)
	}
}

// helpers returns the engines and keepers of a workplace, as "PID COMMAND".
func helpers(name string) []string {
	var found []string
	for _, pid := range marked(name) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		args := strings.Split(string(text), "\x00")
		if err == nil && len(args) > 1 && (args[1] == "engine" || args[1] == "keeper") {
			found = append(found, fmt.Sprintf("%d %s", pid, strings.Join(args, " ")))
		}
	}
	return found
}
