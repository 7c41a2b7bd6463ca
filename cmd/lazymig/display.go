package main

import (
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/lazymig/lazymig/internal/migrate"
)

const (
	// lineWidth is what a line of progress may have: one column less than the
	// narrowest terminal, so that the cursor never wraps.
	lineWidth = 79
	// plainInterval is the time between lines of progress in a file.
	plainInterval = 5 * time.Second
)

// display shows progress and messages on standard error: on a terminal in one
// line that is drawn again and again, elsewhere as a line every few seconds.
// The clock is that of the events.
type display struct {
	out      io.Writer
	terminal bool
	log      *slog.Logger // nil for plain text

	name  string // of the state
	meter meter
	drawn bool      // the cursor is behind a line of progress
	last  time.Time // of the last plain line
}

func newDisplay(out io.Writer, terminal, asJSON bool) *display {
	d := &display{out: out, terminal: terminal && !asJSON}
	if asJSON {
		d.log = slog.New(slog.NewJSONHandler(out, nil))
	}
	return d
}

// say shows a message that stays.
func (d *display) say(text string) {
	if d.log != nil {
		d.log.Info(text)
		return
	}
	d.clear()
	fmt.Fprintln(d.out, "lazymig:", text)
}

// state shows a new state.
func (d *display) state(name string) {
	if name == d.name {
		return
	}
	d.name = name
	switch {
	case d.log != nil:
		d.log.Info(phraseOf(name).long, "state", name)
	case d.terminal:
		d.draw(d.line())
	default:
		d.say(phraseOf(name).long)
	}
}

// progress shows new counts, if it is time to.
func (d *display) progress(e migrate.Event) {
	if e.Progress == nil {
		return
	}
	d.meter.update(e.Time, *e.Progress)
	switch {
	case d.terminal:
		d.draw(d.line())
	case e.Time.Sub(d.last) >= plainInterval:
		d.last = e.Time
		if d.log != nil {
			d.log.Info("progress", "state", d.name, "progress", e.Progress)
		} else {
			d.say(d.line())
		}
	}
}

// line says where the migration is: in a sentence as long as there is nothing
// to count.
func (d *display) line() string {
	if d.meter.counts.Total == 0 {
		return phraseOf(d.name).long
	}
	return phraseOf(d.name).label + " " + d.meter.String()
}

// draw replaces the line of progress.
func (d *display) draw(line string) {
	if runes := []rune(line); len(runes) > lineWidth {
		line = string(runes[:lineWidth])
	}
	fmt.Fprintf(d.out, "\r%s\x1b[K", line)
	d.drawn = true
}

// clear takes the line of progress away.
func (d *display) clear() {
	if d.drawn {
		fmt.Fprint(d.out, "\r\x1b[K")
		d.drawn = false
	}
}
