package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/lazymig/lazymig/internal/doctor"
	"golang.org/x/term"
)

// Columns of doctor's sheet.
const (
	sheetWidth   = 80
	verdictWidth = 8
	nameWidth    = 18
	detailWidth  = 50
	// remedyIndent puts a fix beneath the name of its check.
	remedyIndent = 2 + verdictWidth + 1
	titleWidth   = len("as destination: ")
)

// words are how a verdict is written, and its colour on a terminal.
var words = map[doctor.Status]struct{ word, colour string }{
	doctor.OK:      {"ok", "32"},
	doctor.Limited: {"limited", "33"},
	doctor.Unknown: {"unknown", "33"},
	doctor.NotAble: {"NOT ABLE", "1;31"},
}

// sheet writes doctor's results for people.
type sheet struct {
	out      io.Writer
	coloured bool
}

func newSheet(out io.Writer) sheet {
	f, isFile := out.(*os.File)
	return sheet{out, isFile && term.IsTerminal(int(f.Fd())) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

func (s sheet) write(results []doctor.Result, summary doctor.Summary) {
	group := ""
	for _, r := range results {
		if r.Group != group {
			if group != "" {
				fmt.Fprintln(s.out)
			}
			group = r.Group
			fmt.Fprintln(s.out, group)
		}
		s.writeResult(r)
	}
	fmt.Fprintln(s.out)
	s.writeWhole(fmt.Sprintf("%-*s", titleWidth, "as source:"), role(summary.Source, summary.SourceNames))
	s.writeWhole(fmt.Sprintf("%-*s", titleWidth, "as destination:"), role(summary.Destination, summary.DestinationNames))
	s.writeWhole(fmt.Sprintf("%-*s", titleWidth, "next:"), summary.Next)
}

func (s sheet) writeResult(r doctor.Result) {
	w := words[r.Status]
	verdict := fmt.Sprintf("%-*s", verdictWidth, w.word)
	if s.coloured {
		verdict = "\x1b[" + w.colour + "m" + verdict + "\x1b[0m"
	}
	details := wrap(r.Detail, detailWidth)
	if len([]rune(r.Name)) > nameWidth { // the name has a line of its own
		fmt.Fprintf(s.out, "  %s %s\n", verdict, r.Name)
	} else {
		first := min(1, len(details))
		line := fmt.Sprintf("  %s %-*s %s", verdict, nameWidth, r.Name, strings.Join(details[:first], ""))
		fmt.Fprintln(s.out, strings.TrimRight(line, " "))
		details = details[first:]
	}
	for _, line := range details {
		fmt.Fprintf(s.out, "%*s%s\n", remedyIndent+nameWidth+1, "", line)
	}
	if r.Fix != "" {
		s.writeWhole(strings.Repeat(" ", remedyIndent)+"fix: ", r.Fix)
	}
}

// role is one side's verdict with the checks that it comes from.
func role(severity doctor.Severity, names []string) string {
	if len(names) == 0 {
		return string(severity)
	}
	return string(severity) + " (" + strings.Join(names, ", ") + ")"
}

// writeWhole writes text behind its title and beneath it, in words that are
// never cut: they are to be copied. A word that is too long for its place has a
// line of its own, with less before it.
func (s sheet) writeWhole(title, text string) {
	indent := len(title)
	line := title
	flush := func() {
		if strings.TrimSpace(line) != "" {
			fmt.Fprintln(s.out, strings.TrimRight(line, " "))
		}
		line = strings.Repeat(" ", indent)
	}
	for _, word := range strings.Fields(text) {
		length := len([]rune(word))
		if len([]rune(line))+length > sheetWidth {
			flush()
		}
		if indent+length > sheetWidth {
			line = strings.Repeat(" ", max(0, sheetWidth-length))
		}
		line += word + " "
	}
	flush()
}
