package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// screen is what a terminal shows and has shown: enough of ECMA-48 for what
// lazymig writes. It notes what would look wrong.
type screen struct {
	columns, rows int
	lines         [][]rune // from the first one that was written
	row, column   int      // of the cursor
	top           int      // the line that is highest on the screen
	faults        []string
}

func newScreen(columns, rows int) *screen {
	return &screen{columns: columns, rows: rows, lines: [][]rune{nil}}
}

func (s *screen) fault(format string, args ...any) {
	s.faults = append(s.faults, fmt.Sprintf(format, args...))
}

// write shows text, which has whole sequences.
func (s *screen) write(text string) {
	for text != "" {
		rest, ok := strings.CutPrefix(text, "\x1b[")
		if !ok {
			r := []rune(text)[0]
			s.put(r)
			text = text[len(string(r)):]
			continue
		}
		end := strings.IndexFunc(rest, func(r rune) bool { return r >= '@' && r <= '~' })
		if end < 0 {
			s.fault("the sequence %q has no end", text)
			return
		}
		s.sequence(rest[:end], rest[end])
		text = rest[end+1:]
	}
}

func (s *screen) put(r rune) {
	switch {
	case r == '\r':
		s.column = 0
	case r == '\n': // the driver puts a \r before it
		if s.row++; s.row == len(s.lines) {
			s.lines = append(s.lines, nil)
		}
		s.top = max(s.top, s.row-s.rows+1)
	case r < ' ' || r == 0xfffd:
		s.fault("the character %q", r)
	default:
		line := s.lines[s.row]
		for len(line) <= s.column {
			line = append(line, ' ')
		}
		line[s.column] = r
		s.lines[s.row] = line
		if s.column++; s.column >= s.columns {
			s.fault("line %d is as wide as the terminal: %q", s.row, string(line))
		}
	}
}

func (s *screen) sequence(argument string, kind byte) {
	n, err := strconv.Atoi(argument)
	if err != nil {
		n = 1
	}
	switch kind {
	case 'A':
		if s.row -= n; s.row < s.top {
			s.fault("the cursor leaves the screen by %d lines", s.top-s.row)
			s.row = s.top
		}
	case 'K':
		s.lines[s.row] = s.lines[s.row][:min(s.column, len(s.lines[s.row]))]
	case 'J':
		s.sequence(argument, 'K')
		s.lines = s.lines[:s.row+1]
	case 'm':
	default:
		s.fault("the sequence %q%c", argument, kind)
	}
}

// String returns all lines, those above the screen, too.
func (s *screen) String() string {
	var text strings.Builder
	for _, line := range s.lines {
		text.WriteString(strings.TrimRight(string(line), " ") + "\n")
	}
	return text.String()
}

// openTerminal returns both ends of a pseudo-terminal.
func openTerminal(columns, rows uint16) (master, slave *os.File, err error) {
	if master, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		return nil, nil, err
	}
	fd := int(master.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Col: columns, Row: rows})
	}
	if err == nil {
		slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		return nil, nil, errors.Join(err, master.Close())
	}
	return master, slave, nil
}

// onTerminal runs a command whose standard streams are a terminal of that
// size, and returns what that shows in the end. seen, if not nil, is called
// with the screen after each write.
func onTerminal(cmd *exec.Cmd, columns, rows int, seen func(*screen)) (*screen, error) {
	master, slave, err := openTerminal(uint16(columns), uint16(rows))
	if err != nil {
		return nil, err
	}
	defer master.Close()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := errors.Join(cmd.Start(), slave.Close()); err != nil {
		return nil, err
	}
	s := newScreen(columns, rows)
	var pending []byte
	buffer := make([]byte, 64<<10)
	for {
		n, err := master.Read(buffer)
		pending = append(pending, buffer[:n]...)
		if cut := bytes.LastIndexByte(pending, '\n') + 1; cut > 0 {
			s.write(string(pending[:cut]))
			pending = pending[cut:]
		}
		if seen != nil {
			seen(s)
		}
		if err != nil && (errors.Is(err, io.EOF) || errors.Is(err, unix.EIO)) { // nobody has it open any more
			break
		}
		if err != nil {
			return s, err
		}
	}
	s.write(string(pending))
	return s, cmd.Wait()
}

// TestScreen checks the terminal of the tests itself.
func TestScreen(t *testing.T) {
	s := newScreen(10, 3)
	s.write("one\r\ntwo\r\nthree\r\n\x1b[2A\r\x1b[1mTWO\x1b[m\x1b[K\n\r\x1b[Jend")
	if got := s.String(); got != "one\nTWO\nend\n" || len(s.faults) > 0 {
		t.Errorf("%q, %q", got, s.faults)
	}
	for text, want := range map[string]string{
		"0123456789":                  "as wide",
		"1\r\n2\r\n3\r\n4\r\n\x1b[3A": "leaves the screen by 1 ",
		"\x1b[?25l":                   "sequence",
		"\a":                          "character",
		"\x1b[1":                      "no end",
	} {
		s := newScreen(10, 3)
		if s.write(text); len(s.faults) != 1 || !strings.Contains(s.faults[0], want) {
			t.Errorf("%q: %q, want one with %q", text, s.faults, want)
		}
	}
}
