package migrate

import (
	"bufio"
	"fmt"
	"os"
	"time"

	"github.com/lazymig/lazymig"
)

// A tracer writes down the order in which a guest touches its pages: a line for
// each fault that was answered, "page thread at waited zero", times in
// microseconds. While it records, nothing is fetched ahead:
// who replays the trace wants to know what would have been needed. The
// installer's goroutine owns it.
type tracer struct {
	file    *os.File
	out     *bufio.Writer
	began   time.Time
	length  time.Duration // how long it records behind the resume
	threads map[lazymig.PageNumber]uint32
}

// traceHeader is the first line of a trace; the number of the guest's pages
// follows it.
const traceHeader = "lazymig-trace 1"

// newTracer begins a trace at path.
func newTracer(path string, length time.Duration, pages uint64) (*tracer, error) {
	file, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("begin the trace of the guest's faults: %w", err)
	}
	t := &tracer{file: file, out: bufio.NewWriter(file), began: time.Now(), length: length, threads: map[lazymig.PageNumber]uint32{}}
	_, _ = fmt.Fprintf(t.out, "%s %d\n", traceHeader, pages) // close tells
	return t, nil
}

// fault notes who waits for p. A nil tracer notes nothing.
func (t *tracer) fault(p lazymig.PageNumber, thread uint32) {
	if t == nil {
		return
	}
	if _, waits := t.threads[p]; !waits {
		t.threads[p] = thread
	}
}

// answered notes that the fault on p was answered now.
func (t *tracer) answered(p lazymig.PageNumber, since time.Time, zero bool) {
	if t == nil {
		return
	}
	kind := 0
	if zero {
		kind = 1
	}
	now := time.Now()
	_, _ = fmt.Fprintf(t.out, "%d %d %d %d %d\n", p, t.threads[p], since.Sub(t.began).Microseconds(), now.Sub(since).Microseconds(), kind)
	delete(t.threads, p)
}

// records reports whether nothing is to be fetched ahead yet.
func (t *tracer) records(ran time.Time) bool { return t != nil && time.Since(ran) < t.length }

// close ends the trace.
func (t *tracer) close() error {
	if t == nil {
		return nil
	}
	err := t.out.Flush()
	if problem := t.file.Close(); err == nil {
		err = problem
	}
	if err != nil {
		return fmt.Errorf("write the trace of the guest's faults: %w", err)
	}
	return nil
}
