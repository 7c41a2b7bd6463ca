package report

import (
	"errors"
	"fmt"
)

// Kinds of Chart.
const (
	// GuestThroughput: operations of the guest per second over seconds since
	// the switch.
	GuestThroughput = "guest-throughput"
	// ThroughputOverRTT: MB/s over the round trip in ms.
	ThroughputOverRTT = "throughput-over-rtt"
	// BytesByOrigin: MB of guest memory, by where they came from, for each
	// scenario.
	BytesByOrigin = "bytes-by-origin"
)

// Chart is the data of a figure that any program may write as a line of JSON,
//
//	{"event":"chart","chart":{"kind":"guest-throughput","title":"…","name":"…",
//	 "series":[{"name":"lazymig","points":[[-0.5,44000],[0.1,300]]}],
//	 "marks":[{"at":0,"label":"switch"}]}}
//	{"event":"chart","chart":{"kind":"bytes-by-origin","title":"…","name":"…",
//	 "bars":{"groups":["idle","writing"],"parts":[{"name":"zero","values":[100,20]}]}}}
//
// with the units of its kind.
type Chart struct {
	Kind string `json:"kind"`
	// Name is the file's, without its ending.
	Name   string   `json:"name"`
	Title  string   `json:"title"`
	Series []Series `json:"series,omitempty"`
	Marks  []Mark   `json:"marks,omitempty"`
	Bars   *Bars    `json:"bars,omitempty"`
}

// Series is one thing that was measured.
type Series struct {
	Name   string       `json:"name"`
	Points [][2]float64 `json:"points"`
}

// ErrChart is returned for a chart that cannot be drawn.
var ErrChart = errors.New("invalid chart")

func (c Chart) check() error {
	if !plainName(c.Name) {
		return fmt.Errorf("%w: name %q (use letters, digits and dashes)", ErrChart, c.Name)
	}
	switch c.Kind {
	case GuestThroughput, ThroughputOverRTT:
		return c.checkSeries()
	case BytesByOrigin:
		return c.checkBars()
	default:
		return fmt.Errorf("%w: no kind %q", ErrChart, c.Kind)
	}
}

// plainName keeps a name from leading elsewhere: it becomes that of a file.
func plainName(name string) bool {
	for _, r := range name {
		if r != '-' && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') {
			return false
		}
	}
	return name != ""
}

func (c Chart) checkSeries() error {
	for _, s := range c.Series {
		if len(s.Points) == 0 {
			return fmt.Errorf("%w: %s: series %q has no points", ErrChart, c.Name, s.Name)
		}
		for _, p := range s.Points {
			if c.Kind == ThroughputOverRTT && (p[0] <= 0 || p[1] <= 0) {
				return fmt.Errorf("%w: %s: series %q: both axes are logarithmic, and a point is not above 0", ErrChart, c.Name, s.Name)
			}
		}
	}
	if len(c.Series) == 0 {
		return fmt.Errorf("%w: %s has no series", ErrChart, c.Name)
	}
	return nil
}

func (c Chart) checkBars() error {
	if c.Bars == nil || len(c.Bars.Groups) == 0 || len(c.Bars.Parts) == 0 {
		return fmt.Errorf("%w: %s has no bars", ErrChart, c.Name)
	}
	for _, p := range c.Bars.Parts {
		if len(p.Values) != len(c.Bars.Groups) {
			return fmt.Errorf("%w: %s: part %q has %d values for %d bars", ErrChart, c.Name, p.Name, len(p.Values), len(c.Bars.Groups))
		}
	}
	return nil
}

// figure gives the data the axes of its kind.
func (c Chart) figure() Figure {
	f := Figure{Name: c.Name, Title: c.Title, Marks: c.Marks, Bars: c.Bars}
	switch c.Kind {
	case GuestThroughput:
		f.X, f.Y = Axis{Label: "time since the switch, s"}, Axis{Label: "guest operations per second"}
	case ThroughputOverRTT:
		f.X, f.Y = Axis{Label: "round trip, ms", Log: true}, Axis{Label: "throughput, MB/s", Log: true}
	case BytesByOrigin:
		f.Y = Axis{Label: "guest memory, MB"}
	}
	for i, s := range c.Series {
		f.Lines = append(f.Lines, Line{Name: s.Name, Points: s.Points, Colour: lineColour(i), Dots: c.Kind == ThroughputOverRTT})
	}
	return f
}

// table is the chart in figures.
func (c Chart) table() Table {
	if c.Bars != nil {
		t := Table{Head: []string{"MB"}}
		for _, p := range c.Bars.Parts {
			t.Head = append(t.Head, p.Name)
		}
		for i, g := range c.Bars.Groups {
			row := []string{g}
			for _, p := range c.Bars.Parts {
				row = append(row, figure(p.Values[i]))
			}
			t.Rows = append(t.Rows, row)
		}
		return t
	}
	t := Table{Head: []string{"", "points", "least", "most", "last"}}
	for _, s := range c.Series {
		least, most := s.Points[0][1], s.Points[0][1]
		for _, p := range s.Points {
			least, most = min(least, p[1]), max(most, p[1])
		}
		t.Rows = append(t.Rows, []string{s.Name, fmt.Sprint(len(s.Points)), figure(least), figure(most), figure(s.Points[len(s.Points)-1][1])})
	}
	return t
}
