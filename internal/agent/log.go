package agent

import (
	"encoding/json"
	"log/slog"
	"os"
	"sync"
)

// eventLog writes what is published into the log of the engine, from a
// goroutine of its own: the disk may be slow just when the guest stands still.
type eventLog struct {
	lines chan logLine
	wrote sync.WaitGroup
}

type logLine struct {
	kind string
	line []byte
}

// SetLogFormat makes this process, an engine or a keeper, log as "text" or
// "json". It comes first, so that every line has the format: those of the
// libraries, too, since slog takes over package log.
func SetLogFormat(format string) {
	if format == "json" {
		slog.SetDefault(slog.New(slog.NewJSONHandler(os.Stderr, nil)))
	}
}

func newEventLog() *eventLog {
	l := &eventLog{lines: make(chan logLine, logBuffer)}
	l.wrote.Go(l.serve)
	return l
}

// add queues a line. A log that does not keep up misses some.
func (l *eventLog) add(kind string, line []byte) {
	select {
	case l.lines <- logLine{kind, line}:
	default:
	}
}

func (l *eventLog) serve() {
	for entry := range l.lines {
		slog.Info(entry.kind, "event", json.RawMessage(entry.line))
	}
}

// close writes what is queued. Nothing may be added any more.
func (l *eventLog) close() {
	close(l.lines)
	l.wrote.Wait()
}
