package report

import (
	"fmt"
	"slices"

	"github.com/lazymig/lazymig/bench/faults"
)

// Figure is what one picture shows: lines, or bars of parts.
type Figure struct {
	// Name is the file's, without its ending.
	Name  string `json:"name"`
	Title string `json:"title"`
	X     Axis   `json:"x"`
	Y     Axis   `json:"y"`
	Lines []Line `json:"lines,omitempty"`
	Marks []Mark `json:"marks,omitempty"`
	Bars  *Bars  `json:"bars,omitempty"`
}

// Axis is one axis; Log makes it logarithmic.
type Axis struct {
	Label string  `json:"label"`
	Log   bool    `json:"log,omitempty"`
	Min   float64 `json:"min,omitempty"`
	Max   float64 `json:"max,omitempty"` // 0: that of the data
}

// Line is one curve. Reference lines are drawn faint.
type Line struct {
	Name      string       `json:"name"`
	Points    [][2]float64 `json:"points"`
	Reference bool         `json:"reference,omitempty"`
	Dots      bool         `json:"dots,omitempty"` // show the points: they are few
	// Colour keeps a thing in the same colour over all figures.
	Colour int `json:"colour"`
}

// Mark is a vertical line at one place of the x axis.
type Mark struct {
	At    float64 `json:"at"`
	Label string  `json:"label"`
}

// Bars are columns, each built of parts.
type Bars struct {
	Groups []string `json:"groups"`
	Parts  []Part   `json:"parts"`
}

// Part is one colour of all bars, from below to above.
type Part struct {
	Name   string    `json:"name"`
	Values []float64 `json:"values"` // one for each group
}

// Figures returns all figures of the set.
func (s Set) Figures() []Figure {
	var out []Figure
	for i, r := range s.Faults {
		out = append(out, faultFigures(r, i)...)
	}
	out = append(out, migrationFigures(s.Migrations)...)
	for _, c := range s.Charts {
		out = append(out, c.figure())
	}
	return out
}

// faultFigures shows the distributions for anonymous memory, with the fewest
// and the most threads, for each load.
func faultFigures(r faults.Report, number int) []Figure {
	var out []Figure
	for _, load := range []faults.Load{faults.Idle, faults.Busy} {
		var threads []int
		for _, s := range settings(r) {
			if s.Memory == faults.Anonymous && s.Load == load {
				threads = append(threads, s.Threads)
			}
		}
		if len(threads) == 0 {
			continue
		}
		for _, n := range slices.Compact([]int{slices.Min(threads), slices.Max(threads)}) {
			f := distribution(r, faults.Setting{Memory: faults.Anonymous, Threads: n, Load: load})
			f.Name = fmt.Sprintf("faults-%s-%d", load, n)
			if number > 0 {
				f.Name = fmt.Sprintf("faults%d-%s-%d", number+1, load, n)
			}
			out = append(out, f)
		}
	}
	return out
}

func distribution(r faults.Report, s faults.Setting) Figure {
	f := Figure{
		Title: "Wait for a missing page: " + settingTitle(s),
		X:     Axis{Label: "time from touch to content, µs", Log: true},
		Y:     Axis{Label: "faults that took at most this, %", Max: 100},
	}
	for i, h := range faults.Handlers() {
		result := find(r, caseOf(h, s))
		if result == nil {
			continue
		}
		l := Line{Name: Name(h), Reference: h.RoundTrip(), Colour: i}
		for _, p := range result.Curve {
			if p.US > 0 {
				l.Points = append(l.Points, [2]float64{p.US, 100 * p.Part})
			}
		}
		f.Lines = append(f.Lines, l)
	}
	return f
}
