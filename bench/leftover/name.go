package leftover

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// prefix begins every name of the harness.
const prefix = "lmb-"

var names atomic.Uint64

// pattern finds names, and the owner in them, in longer texts.
var pattern = regexp.MustCompile(regexp.QuoteMeta(prefix) + `([0-9]+)-[0-9]+-`)

// Name returns a new name such as lmb-4711-3-ram. No other process of this
// machine gets it.
func Name(kind string) string {
	return fmt.Sprintf("%s%d-%d-%s", prefix, os.Getpid(), names.Add(1), kind)
}

// owner returns the process whose name is in text.
func owner(text string) (pid int, ok bool) {
	match := pattern.FindStringSubmatch(text)
	if match == nil {
		return 0, false
	}
	pid, err := strconv.Atoi(match[1])
	return pid, err == nil && pid > 0
}

// orphaned reports whether text has a name whose owner has ended.
func orphaned(text string) bool {
	pid, ok := owner(text)
	return ok && errors.Is(unix.Kill(pid, 0), unix.ESRCH)
}

// mine reports whether text has a name of this process.
func mine(text string) bool {
	pid, ok := owner(text)
	return ok && pid == os.Getpid()
}
