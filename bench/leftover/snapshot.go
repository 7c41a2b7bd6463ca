package leftover

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Snapshot is the set of things on this machine that a test may leave behind:
// all network namespaces, all files in /dev/shm, and the folders and processes
// with a name of this process.
type Snapshot map[string]struct{}

// Take returns what there is now.
func Take() Snapshot {
	s := make(Snapshot)
	everything := func(string) bool { return true }
	s.add("network namespace", matching("/run/netns", everything))
	s.add("file", matching("/dev/shm", everything))
	s.add("file", matching(os.TempDir(), mine))
	for _, pid := range processes(mine) {
		name, _ := os.ReadFile(filepath.Join("/proc", fmt.Sprint(pid), "comm"))
		s.add("process", []string{fmt.Sprintf("%d %s", pid, name)})
	}
	return s
}

// Since returns, in order, what is there now and was not in the snapshot: of
// things with a name of this process, and of those with one of the words in
// their names. Tests of several packages run at once, so the rest is not ours.
func (s Snapshot) Since(words ...string) []string {
	now := Take()
	for thing := range now {
		ours := mine(thing) || slices.ContainsFunc(words, func(w string) bool {
			return strings.Contains(thing, w)
		})
		if _, had := s[thing]; had || !ours {
			delete(now, thing)
		}
	}
	return slices.Sorted(maps.Keys(now))
}

func (s Snapshot) add(kind string, things []string) {
	for _, thing := range things {
		s[kind+" "+thing] = struct{}{}
	}
}
