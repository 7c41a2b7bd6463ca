package main

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"golang.org/x/term"
)

// The terminal that the story needs: the block of the page map stays in place,
// and the heading above it in view.
const (
	paperColumns = 80
	paperRows    = 20
)

// paper is where a story is written: lines that stay, and on a terminal a
// block at the end that is drawn again and again.
type paper struct {
	out    io.Writer
	file   *os.File // the terminal, or nil
	color  bool
	height int // of the block that is drawn, with the cursor in the line below
	err    error
}

func newPaper(out io.Writer) *paper {
	p := &paper{out: out}
	if file, ok := out.(*os.File); ok && term.IsTerminal(int(file.Fd())) && os.Getenv("TERM") != "dumb" {
		p.file = file
		p.color = os.Getenv("NO_COLOR") == ""
	}
	return p
}

// live reports whether there is a block.
func (p *paper) live() bool { return p.file != nil }

// fits returns an error if the terminal is too small. A terminal that does not
// tell its size is taken as it is.
func (p *paper) fits() error {
	columns, rows, ok := p.size()
	if !ok || columns >= paperColumns && rows >= paperRows {
		return nil
	}
	return usage("make it larger, or get plain lines: lazymig demo | cat",
		"the terminal has %d columns and %d lines, the page map needs %d and %d", columns, rows, paperColumns, paperRows)
}

func (p *paper) size() (columns, rows int, ok bool) {
	if !p.live() {
		return 0, 0, false
	}
	columns, rows, err := term.GetSize(int(p.file.Fd()))
	return columns, rows, err == nil && columns > 0 && rows > 0
}

// say writes lines that stay, where the block was.
func (p *paper) say(lines ...string) {
	var text bytes.Buffer
	p.erase(&text)
	for _, line := range lines {
		fmt.Fprintln(&text, line)
	}
	p.write(text.Bytes())
}

// draw replaces the block. It does nothing on a terminal that has become too
// small for it.
func (p *paper) draw(lines []string) {
	if columns, rows, ok := p.size(); ok && (columns < paperColumns || rows <= len(lines)) {
		return
	}
	var text bytes.Buffer
	if p.height > 0 {
		fmt.Fprintf(&text, "\x1b[%dA", p.height)
	}
	for _, line := range lines {
		fmt.Fprintf(&text, "\r%s\x1b[K\n", line)
	}
	text.WriteString("\x1b[J")
	p.height = len(lines)
	p.write(text.Bytes())
}

// keep lets the block stay as it is.
func (p *paper) keep() { p.height = 0 }

// erase takes the block away.
func (p *paper) erase(text *bytes.Buffer) {
	if p.height > 0 {
		fmt.Fprintf(text, "\x1b[%dA\r\x1b[J", p.height)
	}
	p.height = 0
}

func (p *paper) write(text []byte) {
	if p.err == nil {
		_, p.err = p.out.Write(text)
	}
}

// Colors of a terminal, by their numbers in ECMA-48.
const (
	plain  = ""
	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33;1"
	blue   = "34"
)

// paint colors text.
func (p *paper) paint(color, text string) string {
	if !p.color || color == plain {
		return text
	}
	return "\x1b[" + color + "m" + text + "\x1b[m"
}
