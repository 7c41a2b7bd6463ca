package qemu

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// mount is one line of /proc/self/mountinfo.
type mount struct {
	device  uint64
	root    string // the part of the file system that is mounted
	point   string
	kind    string
	options string // of the file system, separated by commas
}

func (h Host) readMounts() ([]mount, error) {
	text, err := os.ReadFile(h.path("/proc/self/mountinfo"))
	if err != nil {
		return nil, fmt.Errorf("read the mounts: %w", err)
	}
	var list []mount
	for line := range strings.Lines(string(text)) {
		if m, ok := parseMount(line); ok {
			list = append(list, m)
		}
	}
	return list, nil
}

// parseMount reads "ID PARENT MAJOR:MINOR ROOT POINT OPTIONS … - KIND SOURCE
// OPTIONS"; the number of fields before the dash varies.
func parseMount(line string) (mount, bool) {
	before, after, ok := strings.Cut(line, " - ")
	left, right := strings.Fields(before), strings.Fields(after)
	if !ok || len(left) < 6 || len(right) < 3 {
		return mount{}, false
	}
	majorText, minorText, _ := strings.Cut(left[2], ":")
	major, err1 := strconv.ParseUint(majorText, 10, 32)
	minor, err2 := strconv.ParseUint(minorText, 10, 32)
	if err1 != nil || err2 != nil {
		return mount{}, false
	}
	return mount{
		device:  unix.Mkdev(uint32(major), uint32(minor)),
		root:    unescapeMount(left[3]),
		point:   unescapeMount(left[4]),
		kind:    right[0],
		options: right[2],
	}, true
}

// unescapeMount replaces the octal escapes of white space and backslashes.
func unescapeMount(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// option returns the value of a mount option, such as huge=always.
func (m mount) option(key string) string {
	for option := range strings.SplitSeq(m.options, ",") {
		if value, ok := strings.CutPrefix(option, key+"="); ok {
			return value
		}
	}
	return ""
}
