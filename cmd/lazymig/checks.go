package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/lazymig/lazymig/internal/migrate"
	"github.com/lazymig/lazymig/internal/vmm"
)

// Columns of the table of checks; with the gaps, 80 in all.
const (
	statusWidth = 8
	whatWidth   = 38
	fixWidth    = 32
)

// isPassed reports whether an event is a check that found nothing.
func isPassed(e migrate.Event) bool { return e.Check != nil && e.Check.Status == vmm.StatusOK }

// writeChecks prints the preflight as a table, with what to do.
func writeChecks(out io.Writer, checks []migrate.Event) {
	if len(checks) == 0 {
		return
	}
	row(out, "STATUS", "WHAT", "FIX")
	for _, e := range checks {
		if c := e.Check; c != nil {
			row(out, string(c.Status), fmt.Sprintf("%s: %s: %s", e.Side, c.Name, c.Detail), c.Fix)
		}
	}
	fmt.Fprintln(out)
}

// row prints one row of as many lines as its longest cell needs. Without a fix,
// what was found has the room.
func row(out io.Writer, status, what, fix string) {
	whats, fixes := wrap(what, whatWidth), wrap(fix, fixWidth)
	if fix == "" {
		whats = wrap(what, whatWidth+1+fixWidth)
	}
	for i := range max(len(whats), len(fixes)) {
		cell := func(lines []string) string {
			if i < len(lines) {
				return lines[i]
			}
			return ""
		}
		line := fmt.Sprintf("%-*s %-*s %s", statusWidth, status, whatWidth, cell(whats), cell(fixes))
		fmt.Fprintln(out, strings.TrimRight(line, " "))
		status = ""
	}
}

// wrap breaks text into lines of at most width runes, between words where that
// is possible.
func wrap(text string, width int) []string {
	var lines []string
	var line []rune
	flush := func() {
		if len(line) > 0 {
			lines = append(lines, string(line))
			line = nil
		}
	}
	for _, field := range strings.Fields(text) {
		word := []rune(field)
		if len(line)+1+len(word) > width {
			flush()
		}
		for len(word) > width {
			lines = append(lines, string(word[:width]))
			word = word[width:]
		}
		if len(line) > 0 {
			line = append(line, ' ')
		}
		line = append(line, word...)
	}
	flush()
	return lines
}
