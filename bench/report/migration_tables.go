package report

import (
	"fmt"
	"slices"
)

// column is one of the tables of migrations: a median, less is better.
type column struct {
	name string
	of   func(Migration) (float64, bool)
	// compared: lazymig's figure is set against the technique's.
	compared bool
}

func columns() []column {
	return []column{
		{"gap, ms", always(func(m Migration) float64 { return m.GapMS }), true},
		{"worst, ms", always(func(m Migration) float64 { return m.WorstMS }), true},
		{"recovered, s", func(m Migration) (float64, bool) {
			if m.RecoveredMS == nil {
				return 0, false
			}
			return *m.RecoveredMS / 1000, true
		}, true},
		{"source free, s", always(func(m Migration) float64 { return m.FreeMS / 1000 }), true},
		{"MB sent", always(func(m Migration) float64 { return float64(m.BytesOut) / 1e6 }), false},
		{"CPU s/GiB", always(func(m Migration) float64 { return m.CPUPerGiB }), false},
	}
}

// migrationTables has one table for each place. Each figure of another
// technique is followed by lazymig's over it, and where that is above 1 lazymig
// loses.
func migrationTables(all []Migration) []Table {
	var tables []Table
	places, groups := byPlace(all)
	for _, p := range places {
		t := Table{Title: p, Head: []string{"medians", "runs verified"}}
		for _, c := range columns() {
			t.Head = append(t.Head, c.name)
			if c.compared {
				t.Head = append(t.Head, "lazymig/it")
			}
		}
		techniques, good, runs := byTechnique(groups[p])
		for _, name := range techniques {
			row := []string{name, fmt.Sprintf("%d of %d", len(good[name]), runs[name])}
			for _, c := range columns() {
				n := median(good[name], c.of)
				row = append(row, figure(n))
				if c.compared {
					row = append(row, compared(name, median(good[migrationOwn], c.of), n))
				}
			}
			t.Rows = append(t.Rows, row)
		}
		tables = append(tables, t)
	}
	return tables
}

func compared(technique string, own, other float64) string {
	if technique == migrationOwn || own == 0 || other == 0 {
		return ""
	}
	return ratio(own / other)
}

// migrationOrigin says where the figures come from.
func migrationOrigin(all []Migration) string {
	e := all[0].Environment
	return fmt.Sprintf("%s, %d cores, Linux %s, QEMU %s (%s), %s, commit %s, load average %.2f before the first run.",
		e.CPU, e.CPUs, e.Kernel, e.QEMU, e.Accel, e.Place, e.Commit, e.LoadStart)
}

// migrationFigures are the guest's work around the switch, and the drain over
// the round trip.
func migrationFigures(all []Migration) []Figure {
	var out []Figure
	guest := Figure{
		Name: "migrations-guest", X: Axis{Label: "time since the switch, s"}, Y: Axis{Label: "guest operations per second"},
		Marks: []Mark{{0, "switch"}},
	}
	drain := Figure{
		Name: "migrations-rtt", Title: "Guest memory moved per second over the round trip",
		X: Axis{Label: "round trip, ms", Log: true}, Y: Axis{Label: "memory until the source is free, MB/s", Log: true},
	}
	techniques, good, _ := byTechnique(all)
	for i, name := range techniques {
		if m := firstWithSeries(good[name]); m != nil {
			guest.Title = "Guest's work around the switch: " + m.place()
			guest.Lines = append(guest.Lines, Line{Name: name, Colour: lineColour(i), Points: perSecond(*m)})
		}
		if points := overRTT(good[name]); len(points) > 1 {
			drain.Lines = append(drain.Lines, Line{Name: name, Colour: lineColour(i), Points: points, Dots: true})
		}
	}
	for _, f := range []Figure{guest, drain} {
		if len(f.Lines) > 0 {
			out = append(out, f)
		}
	}
	return out
}

// lineColour gives lazymig, which is first, the colour that it has in the
// figures of faults, and the others those that differ most from it.
func lineColour(i int) int {
	if i > 0 {
		i++
	}
	return i + 2
}

func firstWithSeries(all []Migration) *Migration {
	for i := range all {
		if all[i].Factor == migrationBase && len(all[i].Series) > 0 {
			return &all[i]
		}
	}
	return nil
}

// perSecond adds the points of a record up to larger ones, at their middle.
func perSecond(m Migration) [][2]float64 {
	type sum struct{ ops, intervals float64 }
	sums := map[int64]sum{}
	var at []int64
	for _, p := range m.Series {
		bucket := (p.AtMS - seriesIntervalMS) / seriesBucketMS
		if p.AtMS-seriesIntervalMS < 0 {
			bucket = (p.AtMS-seriesIntervalMS+1)/seriesBucketMS - 1
		}
		if _, ok := sums[bucket]; !ok {
			at = append(at, bucket)
		}
		s := sums[bucket]
		sums[bucket] = sum{s.ops + p.Ops, s.intervals + 1}
	}
	slices.Sort(at)
	points := make([][2]float64, len(at))
	for i, b := range at {
		middle := (float64(b) + 0.5) * seriesBucketMS / 1000
		points[i] = [2]float64{middle, sums[b].ops / sums[b].intervals * 1000 / seriesIntervalMS}
	}
	return points
}

// overRTT is the median rate at each round trip that was measured.
func overRTT(all []Migration) [][2]float64 {
	at := map[float64][]Migration{}
	var rtts []float64
	for _, m := range all {
		if (m.Factor != migrationRTT && m.Factor != migrationBase) || m.RTTMS <= 0 || m.FreeMS <= 0 || m.MemoryUsed == 0 {
			continue
		}
		if at[m.RTTMS] == nil {
			rtts = append(rtts, m.RTTMS)
		}
		at[m.RTTMS] = append(at[m.RTTMS], m)
	}
	slices.Sort(rtts)
	var points [][2]float64
	for _, rtt := range rtts {
		rate := median(at[rtt], always(func(m Migration) float64 { return float64(m.MemoryUsed) / 1e6 / (m.FreeMS / 1000) }))
		points = append(points, [2]float64{rtt, rate})
	}
	return points
}
