package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/lazymig/lazymig/internal/demo"
	"github.com/lazymig/lazymig/internal/migrate"
)

func TestRate(t *testing.T) {
	for text, want := range map[string]rate{
		"1Gbit": 125_000_000, "400Mbit/s": 50_000_000, "8kbit": 1000, "50MB": 50_000_000, "1.5GiB/s": 3 << 29,
		"2kB": 2000, "1GB": 1_000_000_000, "3KiB": 3072, "0.5MiB": 1 << 19,
	} {
		var r rate
		if err := r.Set(text); err != nil || r != want {
			t.Errorf("%q is %d, %v, want %d", text, r, err, want)
		}
	}
	for _, text := range []string{"", "1", "1G", "Gbit", "-1Gbit", "1Gb", "1e9kbit", "NaNMbit", "0Mbit", "1 Gbit", "99999999Gbit", "1Gbit/s/s", "1..2Gbit"} {
		var r rate
		if err := r.Set(text); err == nil {
			t.Errorf("%q is %d", text, r)
		}
	}
	for bytes, want := range map[uint64]string{125_000_000: "1 Gbit/s", 50_000_000: "400 Mbit/s", 1_000_000: "8 Mbit/s", 187_500_000: "1.5 Gbit/s"} {
		if got := rateText(bytes); got != want {
			t.Errorf("%d: %q, want %q", bytes, got, want)
		}
	}
}

// TestMapLines draws a map of seven cells of ten pages.
func TestMapLines(t *testing.T) {
	m := &migrate.PageMap{
		Pages: 70, Cells: 7,
		Zero:     []uint64{0, 0, 0, 6, 10, 0, 0},
		Demand:   []uint64{0, 1, 1, 4, 0, 6, 0},
		Bulk:     []uint64{0, 0, 8, 0, 0, 4, 9},
		Poisoned: []uint64{0, 0, 0, 0, 0, 0, 1},
	}
	p := &paper{}
	if got := strings.Join(p.mapLines(m), "\n"); got != margin+".!+00!x" {
		t.Errorf("%q", got)
	}
	if !strings.Contains(p.legend(m), "x lost") {
		t.Errorf("the legend is %q", p.legend(m))
	}
	m = &migrate.PageMap{Pages: 1 << 20, Cells: demo.MapCells}
	lines := p.mapLines(m)
	if len(lines) != demo.MapCells/mapColumns {
		t.Errorf("%d lines", len(lines))
	}
	p.color = true
	if got, want := p.mapLines(m)[0], margin+"\x1b[2m"+strings.Repeat(".", mapColumns)+"\x1b[m"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestFigures(t *testing.T) {
	for n, want := range map[float64]string{0: "0", 950: "950", 9_949: "9949", 9_951: "10 thousand", 999_600: "1.00 million", 1_234_567: "1.23 million"} {
		if got := amount(n); got != want {
			t.Errorf("amount %v: %q, want %q", n, got, want)
		}
	}
	for n, want := range map[uint64]string{0: "0", 999: "999", 1000: "1 000", 12_345_678: "12 345 678"} {
		if got := count(n); got != want {
			t.Errorf("count %d: %q, want %q", n, got, want)
		}
	}
	for ms, want := range map[float64]string{0.04: "0.0 ms", 7.94: "7.9 ms", 123.4: "123 ms", 5000: "5.0 s"} {
		if got := duration(ms); got != want {
			t.Errorf("duration %v: %q, want %q", ms, got, want)
		}
	}
	s := &story{paper: &paper{}, before: 1e6, speeds: []float64{0, 1, 1e3, 1e6, 5e6}}
	if got := s.bars(); !strings.HasSuffix(got, " _▁▅██") {
		t.Errorf("bars %q", got)
	}
}

// TestPaper draws a block that grows and shrinks, with lines before it, on a
// terminal that is just high enough.
func TestPaper(t *testing.T) {
	s := newScreen(20, 5)
	p := &paper{out: crlf{s}}
	p.say("first")
	p.draw([]string{"a", "bb", "ccc", "dddd"})
	p.draw([]string{"A"})
	p.say("second")
	p.draw([]string{"x", "y"})
	p.draw([]string{"X", "Y", "Z"})
	p.keep()
	p.say("third")
	if want := "first\nsecond\nX\nY\nZ\nthird\n\n"; s.String() != want || len(s.faults) > 0 {
		t.Errorf("%q, %q, want %q", s.String(), s.faults, want)
	}
}

// crlf does what a terminal's driver does.
type crlf struct{ s *screen }

func (c crlf) Write(text []byte) (int, error) {
	c.s.write(strings.ReplaceAll(string(text), "\n", "\r\n"))
	return len(text), nil
}

// TestStoryEnds tells stories that do not come to their end, and of a pipe that
// nobody reads.
func TestStoryEnds(t *testing.T) {
	for name, c := range map[string]struct {
		events []demo.Event
		want   string
	}{
		"nothing made": {[]demo.Event{{Event: demo.EventReport, Report: &demo.Report{Outcome: demo.OutcomeFailed, Removed: true}}}, ""},
		"removed": {[]demo.Event{
			{Event: demo.EventBegin, About: &demo.About{Name: "x"}},
			{Event: demo.EventReport, Report: &demo.Report{Outcome: demo.OutcomeFailed, Removed: true}},
		}, "Everything that it made is removed.\n"},
		"not removed": {[]demo.Event{
			{Event: demo.EventBegin, About: &demo.About{Name: "x"}},
			{Event: demo.EventReport, Report: &demo.Report{Outcome: demo.OutcomeFailed}},
		}, "counts.\n"},
	} {
		var text bytes.Buffer
		s := &story{paper: newPaper(&text)}
		for _, e := range c.events {
			if err := s.tell(e); err != nil {
				t.Error(err)
			}
		}
		if !strings.HasSuffix(text.String(), c.want) || c.want == "" && text.Len() > 0 {
			t.Errorf("%s: %q", name, text.String())
		}
	}
	s := &story{paper: newPaper(broken{})}
	if err := s.tell(demo.Event{Event: demo.EventSwitch}); !errors.Is(err, errBroken) {
		t.Errorf("%v from a broken pipe", err)
	}
}

var errBroken = errors.New("broken pipe")

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errBroken }
