package doctor

import "strings"

// Severity is how able a host is in one role.
type Severity string

// From good to bad; NotAsked is for a role that was not examined.
const (
	Ready     Severity = "ready"
	SomeLimit Severity = "limited"
	Unable    Severity = "not able"
	NotAsked  Severity = "not examined"
)

// Summary is what all results together mean.
type Summary struct {
	Source      Severity `json:"source"`
	Destination Severity `json:"destination"`
	Counts      Counts   `json:"counts"`
	// Next is what to do next.
	Next string `json:"next"`

	// SourceNames and DestinationNames are the checks that are not OK, the
	// worst first.
	SourceNames      []string `json:"source_problems"`
	DestinationNames []string `json:"destination_problems"`
}

// Counts is how many checks had each status.
type Counts struct {
	OK      int `json:"ok"`
	Limited int `json:"limited"`
	Unknown int `json:"unknown"`
	NotAble int `json:"not_able"`
}

// Worst returns the worse severity of the roles that were examined.
func (s Summary) Worst() Severity {
	switch {
	case s.Source == Unable || s.Destination == Unable:
		return Unable
	case s.Source == SomeLimit || s.Destination == SomeLimit:
		return SomeLimit
	}
	return Ready
}

// Summarize says what the results mean for the roles that were examined.
func Summarize(c Config, results []Result) Summary {
	s := Summary{Source: NotAsked, Destination: NotAsked}
	for _, r := range results {
		s.Counts.add(r.Status)
	}
	if c.Role.Covers(Source) {
		s.Source, s.SourceNames = judge(results, Source)
	}
	if c.Role.Covers(Destination) {
		s.Destination, s.DestinationNames = judge(results, Destination)
	}
	s.Next = next(c, results, s.Worst())
	return s
}

func (c *Counts) add(status Status) {
	switch status {
	case OK:
		c.OK++
	case Limited:
		c.Limited++
	case Unknown:
		c.Unknown++
	case NotAble:
		c.NotAble++
	}
}

// judge returns how able the host is as one side, and why not more.
func judge(results []Result, side Role) (Severity, []string) {
	severity, names := Ready, []string{}
	for _, status := range []Status{NotAble, Limited, Unknown} {
		for _, r := range results {
			if r.Status != status || !r.Role.Covers(side) {
				continue
			}
			names = append(names, r.Name)
			if severity == Ready {
				severity = SomeLimit
			}
			if status == NotAble {
				severity = Unable
			}
		}
	}
	return severity, names
}

// next is the fix of what is worst, or the command that a ready host waits for.
func next(c Config, results []Result, worst Severity) string {
	if worst == Unable {
		for _, r := range results {
			if r.Name == "user" && r.Status != OK {
				return "look again as root: sudo lazymig doctor"
			}
		}
		for _, r := range results {
			if r.Status == NotAble && !strings.HasPrefix(r.Fix, "see ") {
				return r.Name + ": " + r.Fix
			}
		}
	}
	listen := c.Listen
	if listen == "" {
		listen = "0.0.0.0:7000"
	}
	switch {
	case c.QMP != "":
		return "lazymig send --qmp " + c.QMP + " --to HOST:PORT --dry-run"
	case c.Role == Source:
		return "lazymig doctor --qmp SOCKET to examine a guest, then lazymig send --dry-run"
	}
	return "lazymig receive --listen " + listen + " -- qemu-system-x86_64 …"
}
