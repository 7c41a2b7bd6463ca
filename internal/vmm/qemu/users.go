package qemu

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// fileUser is a process that uses a RAM file.
type fileUser struct {
	pid  int
	name string // the process's
	how  string // "maps" or "holds open"
}

// String names the process for people.
func (u fileUser) String() string { return fmt.Sprintf("process %d (%s)", u.pid, u.name) }

// findUsers lists for each file the processes that map it or hold it open,
// but for the process except, and for lazymig's own, which are known by their
// program. files gives the path of each. Processes that end meanwhile, and
// those that this user may not look into, are passed over.
func findUsers(files map[inode]string, except int) (map[inode][]fileUser, error) {
	pids, err := processes()
	if err != nil {
		return nil, err
	}
	bases := make(map[string]bool, len(files))
	for _, path := range files {
		bases[filepath.Base(path)] = true
	}
	users := make(map[inode][]fileUser)
	for _, pid := range pids {
		if pid == except || isOurs(pid) {
			continue
		}
		for file, how := range usesOf(pid, files, bases) {
			users[file] = append(users[file], fileUser{pid, commandOf(pid), how})
		}
	}
	return users, nil
}

// usesOf tells how a process uses the files.
func usesOf(pid int, files map[inode]string, bases map[string]bool) map[inode]string {
	uses := make(map[inode]string)
	for _, file := range openFilesOf(pid, bases) {
		if _, ok := files[file]; ok {
			uses[file] = "holds open"
		}
	}
	maps, err := readMaps(pid)
	if err != nil {
		return uses
	}
	for _, v := range maps {
		if _, ok := files[v.inode]; ok {
			uses[v.inode] = "maps"
		}
	}
	return uses
}

// openFilesOf lists a process's open files whose base name is one of bases.
// Only those are looked at more closely, as stat can block on a dead network
// file system.
func openFilesOf(pid int, bases map[string]bool) []inode {
	directory := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(directory)
	if err != nil {
		return nil
	}
	var list []inode
	for _, e := range entries {
		path := filepath.Join(directory, e.Name())
		target, err := os.Readlink(path)
		if err != nil || !bases[filepath.Base(strings.TrimSuffix(target, " (deleted)"))] {
			continue
		}
		var status unix.Stat_t
		if unix.Stat(path, &status) == nil {
			list = append(list, inodeOf(&status))
		}
	}
	return list
}

// processes lists the numbers of all processes.
func processes() ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list the processes: %w", err)
	}
	var pids []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// isOurs tells that a process runs this same program.
func isOurs(pid int) bool {
	if pid == os.Getpid() {
		return true
	}
	var own, other unix.Stat_t
	err := errors.Join(unix.Stat("/proc/self/exe", &own), unix.Stat(fmt.Sprintf("/proc/%d/exe", pid), &other))
	return err == nil && inodeOf(&own) == inodeOf(&other)
}

// commandOf returns the name of a process's program.
func commandOf(pid int) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(text))
}
