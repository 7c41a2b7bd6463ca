package qemu

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// inode identifies a file on this host.
type inode struct{ device, number uint64 }

func inodeOf(s *unix.Stat_t) inode { return inode{s.Dev, s.Ino} }

// vma is one mapping of a process, as in /proc/PID/maps.
type vma struct {
	start, end uint64
	shared     bool
	writable   bool
	offset     uint64 // in the file, bytes
	inode      inode
	path       string // as the kernel names it, without the mark of a deleted file
	deleted    bool   // the file has no name any more
}

func (v vma) length() uint64 { return v.end - v.start }

// readMaps returns the mappings of a process, ordered by address.
func readMaps(pid int) ([]vma, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return nil, fmt.Errorf("read the mappings of process %d: %w", pid, err)
	}
	defer f.Close()
	list, err := parseMaps(f)
	if err != nil {
		return nil, fmt.Errorf("read the mappings of process %d: %w", pid, err)
	}
	return list, nil
}

func parseMaps(r io.Reader) ([]vma, error) {
	var list []vma
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		v, err := parseVMA(lines.Text())
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, lines.Err()
}

// parseVMA reads "start-end perms offset major:minor inode path".
func parseVMA(line string) (vma, error) {
	fields := strings.SplitN(line, " ", 6)
	if len(fields) < 5 || len(fields[1]) != 4 {
		return vma{}, fmt.Errorf("parse the mapping %q", line)
	}
	start, end, _ := strings.Cut(fields[0], "-")
	major, minor, _ := strings.Cut(fields[3], ":")
	var numbers [6]uint64
	for i, n := range []struct {
		text string
		base int
	}{{start, 16}, {end, 16}, {fields[2], 16}, {major, 16}, {minor, 16}, {fields[4], 10}} {
		var err error
		if numbers[i], err = strconv.ParseUint(n.text, n.base, 64); err != nil {
			return vma{}, fmt.Errorf("parse the mapping %q: %w", line, err)
		}
	}
	v := vma{
		start: numbers[0], end: numbers[1], offset: numbers[2],
		inode:    inode{unix.Mkdev(uint32(numbers[3]), uint32(numbers[4])), numbers[5]},
		writable: fields[1][1] == 'w',
		shared:   fields[1][3] == 's',
	}
	if len(fields) == 6 {
		v.path, v.deleted = strings.CutSuffix(strings.TrimLeft(fields[5], " "), " (deleted)")
	}
	if v.end <= v.start {
		return vma{}, fmt.Errorf("parse the mapping %q: it is empty", line)
	}
	return v, nil
}

// mergeFile returns the shared mappings of one file ordered by file offset,
// with those joined that continue each other in address and offset: the
// kernel splits a mapping where its attributes differ.
func mergeFile(all []vma, file inode) []vma {
	var list []vma
	for _, v := range all {
		if !v.shared || v.inode != file {
			continue
		}
		if n := len(list); n > 0 && list[n-1].end == v.start && list[n-1].offset+list[n-1].length() == v.offset && list[n-1].writable == v.writable {
			list[n-1].end = v.end
			continue
		}
		list = append(list, v)
	}
	slices.SortStableFunc(list, func(a, b vma) int { return cmp.Compare(a.offset, b.offset) })
	return list
}
