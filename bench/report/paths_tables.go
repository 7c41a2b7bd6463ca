package report

import (
	"fmt"
	"slices"

	"github.com/lazymig/lazymig/bench/faults"
	"github.com/lazymig/lazymig/bench/paths"
)

// pathNames are the kinds in tables.
var pathNames = map[paths.Kind]string{
	paths.Floor:     "floor",
	paths.RoundTrip: "QUIC round trip",
	paths.OnDemand:  "lazymig, on demand",
	paths.Beside:    "lazymig, background",
	paths.Drain:     "lazymig, drain",
	paths.Sweep:     "lazymig, all",
	paths.Serial:    "serial, QUIC",
	paths.RawQUIC:   "plain QUIC",
	paths.Reno:      "TCP Reno",
}

// PathTables returns the figures beside their limits, and then all others, link
// by link. spread adds the least and the greatest to the latter, which a
// terminal has no room for.
func PathTables(r paths.Report, spread bool) []Table {
	var tables []Table
	for i := 0; i < len(r.Goals); {
		end := i
		for end < len(r.Goals) && r.Goals[end].Group == r.Goals[i].Group {
			end++
		}
		tables = append(tables, goalTable(r.Goals[i:end]))
		i = end
	}
	for _, p := range places(r) {
		for _, t := range []Table{p.waits(spread), p.rates(spread)} {
			if len(t.Rows) > 0 {
				tables = append(tables, t)
			}
		}
	}
	return tables
}

// goalTable shows the goals of one group.
func goalTable(goals []paths.Goal) Table {
	t := Table{Title: goals[0].Group, Head: []string{"", "figure", "limit", ""}}
	for _, g := range goals {
		limit, word := "–", ""
		if g.Limit != nil && g.Limit.Rounds > 0 {
			limit, word = "≤ "+figure(g.Limit.Median), "missed"
			if g.AtLeast {
				limit = "≥ " + figure(g.Limit.Median)
			}
			if g.Met {
				word = "met"
			}
		}
		t.Rows = append(t.Rows, []string{g.What, statCell(g.Value, 1, true), limit, word})
		if note := "The limit of p50 is " + g.LimitIs + "."; g.LimitIs != "" && !slices.Contains(t.Notes, note) {
			t.Notes = append(t.Notes, note)
		}
	}
	return t
}

// linkResults is what was measured over one link with one load.
type linkResults struct {
	title   string
	results []paths.Result
}

// places sorts the results by where they were measured.
func places(r paths.Report) []linkResults {
	var out []linkResults
	for _, result := range r.Results {
		title := result.Link.String()
		if result.Load == faults.Busy {
			title += ", busy cores"
		}
		i := slices.IndexFunc(out, func(p linkResults) bool { return p.title == title })
		if i < 0 {
			i = len(out)
			out = append(out, linkResults{title: title})
		}
		out[i].results = append(out[i].results, result)
	}
	return out
}

// waits has what threads waited for.
func (p linkResults) waits(spread bool) Table {
	t := Table{Title: p.title + ": waits, µs", Head: []string{"", "threads", "p50", "p99", "p99.9", "max", "faults/s", "pages/s"}}
	for _, r := range p.results {
		if r.Stats[paths.P50].Rounds == 0 {
			continue
		}
		row := []string{pathName(r.Case), fmt.Sprint(r.Threads)}
		for _, f := range []paths.Figure{paths.P50, paths.P99, paths.P999, paths.Max, paths.PerSecond, paths.PagesPerSecond} {
			row = append(row, statCell(r.Stats[f], 1, spread))
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// rates has what came each second.
func (p linkResults) rates(spread bool) Table {
	t := Table{Title: p.title + ": rates, MB/s", Head: []string{"", "threads", "memory", "bulk", "whole", "wire", "s/GiB", "conns"}}
	for _, r := range p.results {
		if r.Stats[paths.Rate].Rounds == 0 {
			continue
		}
		row := []string{pathName(r.Case), fmt.Sprint(r.Threads)}
		for _, f := range []paths.Figure{paths.Rate, paths.BulkRate, paths.WholeRate, paths.WireRate} {
			row = append(row, statCell(r.Stats[f], 1e6, spread))
		}
		row = append(row, statCell(r.Stats[paths.CPU], 1, spread), connections(r.Stats[paths.Connections]))
		t.Rows = append(t.Rows, row)
	}
	return t
}

// pathName names a case in the tables of its link.
func pathName(c paths.Case) string {
	if c.Memory == paths.Ordinary {
		return "ordinary memory"
	}
	return pathNames[c.Kind]
}

// connections is a number of them, or several if rounds differ.
func connections(s paths.Stat) string {
	if s.Least != s.Most {
		return fmt.Sprintf("%.0f–%.0f", s.Least, s.Most)
	}
	return fmt.Sprintf("%.0f", s.Median)
}

// statCell is the median of a figure in a unit, with its spread if there is
// one to show.
func statCell(s paths.Stat, unit float64, spread bool) string {
	switch {
	case s.Rounds == 0 || s.Most == 0:
		return "–"
	case s.Rounds == 1 || !spread:
		return figure(s.Median / unit)
	default:
		return fmt.Sprintf("%s (%s–%s)", figure(s.Median/unit), figure(s.Least/unit), figure(s.Most/unit))
	}
}
