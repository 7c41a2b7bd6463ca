package replay

import (
	"bufio"
	"fmt"
	"io"
	"time"

	"github.com/lazymig/lazymig"
)

// Touch is the first use of a page.
type Touch struct {
	Page lazymig.PageNumber
	// Thread is who touched it, or 0 where the kernel does not tell.
	Thread uint32
	// Think is what the thread did since its last touch had been answered.
	Think time.Duration
	// Zero says that the page needed nothing of the source.
	Zero bool
}

// Trace is what a guest touched, in order.
type Trace struct {
	Pages   uint64 // of the guest
	Touches []Touch
}

// maxTracePages bounds the guest of a trace: 64 TiB.
const maxTracePages = 1 << 34

// Read reads a trace.
func Read(from io.Reader) (Trace, error) {
	var t Trace
	lines := bufio.NewScanner(from)
	if !lines.Scan() {
		return t, fmt.Errorf("read the trace: it is empty: %w", io.ErrUnexpectedEOF)
	}
	if _, err := fmt.Sscanf(lines.Text(), "lazymig-trace 1 %d", &t.Pages); err != nil || t.Pages == 0 || t.Pages > maxTracePages {
		return t, fmt.Errorf("read the trace: line 1 is not that of a trace: %.40q", lines.Text())
	}
	free := map[uint32]int64{} // when each thread's last touch was answered
	first := int64(-1)
	for n := 2; lines.Scan(); n++ {
		var page uint64
		var thread uint32
		var at, waited int64
		var zero int
		if _, err := fmt.Sscanf(lines.Text(), "%d %d %d %d %d", &page, &thread, &at, &waited, &zero); err != nil {
			return t, fmt.Errorf("read the trace: line %d: %w", n, err)
		}
		if page >= t.Pages || waited < 0 || at < 0 {
			return t, fmt.Errorf("read the trace: line %d: page %d of %d, waited %d µs", n, page, t.Pages, waited)
		}
		if first < 0 {
			first = at
		}
		last, ok := free[thread]
		if !ok {
			last = first
		}
		think := max(0, at-last)
		free[thread] = at + waited
		t.Touches = append(t.Touches, Touch{
			Page: lazymig.PageNumber(page), Thread: thread, Think: time.Duration(think) * time.Microsecond, Zero: zero != 0,
		})
	}
	return t, lines.Err()
}
