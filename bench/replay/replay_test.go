package replay

import (
	"strings"
	"testing"
	"time"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/prefetch"
)

func TestRead(t *testing.T) {
	trace, err := Read(strings.NewReader("lazymig-trace 1 100\n7 12 50 100 0\n8 12 200 10 1\n9 13 60 1 0\n"))
	if err != nil || trace.Pages != 100 || len(trace.Touches) != 3 {
		t.Fatalf("%+v, %v", trace, err)
	}
	if got := trace.Touches[1]; got.Think != 50*time.Microsecond || !got.Zero || got.Thread != 12 {
		t.Errorf("%+v", got)
	}
	for name, text := range map[string]string{
		"empty": "", "other": "hello\n", "no pages": "lazymig-trace 1 0\n", "huge": "lazymig-trace 1 99999999999999\n",
		"outside": "lazymig-trace 1 10\n10 1 0 0 0\n", "cut": "lazymig-trace 1 10\n1 1\n", "words": "lazymig-trace 1 10\na b c d e\n",
	} {
		if _, err := Read(strings.NewReader(text)); err == nil {
			t.Errorf("%s: read", name)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add("lazymig-trace 1 100\n7 12 50 100 0\n")
	f.Fuzz(func(_ *testing.T, text string) { _, _ = Read(strings.NewReader(text)) })
}

// walk is the trace of a thread that touches pages in an order.
func walk(pages uint64, order func(i int) uint64, count int, think time.Duration) Trace {
	t := Trace{Pages: pages}
	for i := range count {
		t.Touches = append(t.Touches, Touch{Page: lazymig.PageNumber(order(i)), Thread: 1, Think: think})
	}
	return t
}

var gigabit = Link{BytesPerSecond: 125e6, RTT: time.Millisecond, Window: 1024, Chunk: 64}

func TestSimulate(t *testing.T) {
	up := walk(100_000, func(i int) uint64 { return 50_000 + uint64(i) }, 2000, 50*time.Microsecond)
	stride := walk(100_000, func(i int) uint64 { return 90_000 - 37*uint64(i) }, 2000, 50*time.Microsecond)
	none := Simulate(up, nil, gigabit, nil, 64, 0)
	if none.Network != 2000 || none.Faults != 2000 || none.Fetched != 0 || none.LostMS < 2000 {
		t.Errorf("nothing ahead: %+v", none)
	}
	for _, c := range []struct {
		trace    Trace
		policies []prefetch.Policy
		most     int // network faults
	}{
		{up, []prefetch.Policy{prefetch.StridePolicy}, 200},
		{up, []prefetch.Policy{prefetch.Bubble}, 100},
		{up, []prefetch.Policy{prefetch.Bubble, prefetch.LinearPolicy}, 100},
		{stride, []prefetch.Policy{prefetch.StridePolicy}, 200},
	} {
		r := Simulate(c.trace, c.policies, gigabit, nil, 64, 0)
		if r.Network > c.most || r.LostMS >= none.LostMS/2 || r.Touches != 2000 {
			t.Errorf("%v: %+v", c.policies, r)
		}
		t.Logf("%v: %+v, precision %.2f, recall %.2f", c.policies, r, r.Precision(), r.Recall())
	}
}

func TestSimulateHotSet(t *testing.T) {
	trace := walk(1000, func(i int) uint64 { return uint64(i*7%1000) + 0 }, 300, 0)
	var hot []lazymig.PageNumber
	for _, touch := range trace.Touches[:200] {
		hot = append(hot, touch.Page)
	}
	hot = append(hot, 5000) // a page of a larger guest
	r := Simulate(trace, []prefetch.Policy{prefetch.HotSet}, gigabit, hot, 0, 0)
	if r.Faults != 100 || r.Used != 200 || r.Fetched != 200 || r.Precision() != 1 {
		t.Errorf("%+v", r)
	}
}
