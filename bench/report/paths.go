package report

import (
	"fmt"
	"io"
	"strings"

	"github.com/lazymig/lazymig/bench/paths"
)

// How the tables of paths are to be read.
const pathsLegend = `What the engine of serve-memory and serve-uffd does over links between two network namespaces: medians (least–greatest) of the
rounds. Memory is noise that cannot be compressed, no two pages alike, and each page that is read is compared with what it must be. **limit**: what the figure should not be above, or
below with ≥; it is computed in each round from what was measured in that round. **guest memory**: pages that were installed, without headers. **drain**: nobody touches memory; its rate is that from a
tenth to nine tenths of the pages. **floor**: a handler that copies a page of its own; on busy cores one thread a core computes all the time. **CPU**: both ends.
The handler of userfaultfd-go reads a part of the memory, for as long as the other threads; lazymig reads all of it, from the hand-off on.
`

// pathNames are the kinds in tables.
var pathNames = map[paths.Kind]string{
	paths.Floor:     "floor",
	paths.RoundTrip: "QUIC round trip",
	paths.OnDemand:  "lazymig, on demand",
	paths.Beside:    "lazymig, background",
	paths.Drain:     "lazymig, drain",
	paths.Sweep:     "lazymig, all at random",
	paths.Serial:    "serial, QUIC",
	paths.RawQUIC:   "plain QUIC",
	paths.Reno:      "TCP Reno",
}

// PathOrigin says where the figures come from.
func PathOrigin(r paths.Report) string {
	return origin(r.Quick, r.Rounds, r.Seconds, r.Machine)
}

// PathTables returns the figures beside their limits, and all others.
func PathTables(r paths.Report) []Table {
	return []Table{goalTable(r), waitTable(r), rateTable(r)}
}

func goalTable(r paths.Report) Table {
	t := Table{Title: "Figures and their limits", Head: []string{"", "figure", "limit", ""}}
	for _, g := range r.Goals {
		limit, word := "–", ""
		if g.Limit != nil {
			limit, word = sign(g.AtLeast)+figure(g.Limit.Median)+" "+g.Unit, "missed"
			if g.Met {
				word = "met"
			}
		}
		if g.Value.Rounds == 0 {
			limit, word = strings.Replace(limit, sign(g.AtLeast)+figure(0), "–", 1), "not measured"
		}
		t.Rows = append(t.Rows, []string{g.Group + ": " + g.What, statCell(g.Value, 1) + " " + g.Unit, limit, word})
	}
	return t
}

func sign(atLeast bool) string {
	if atLeast {
		return "≥ "
	}
	return "≤ "
}

// waitTable has what threads waited for.
func waitTable(r paths.Report) Table {
	t := Table{Title: "Waits, µs", Head: []string{"", "p50", "p99", "p99.9", "max", "faults/s", "unfairness"}}
	for _, result := range r.Results {
		if _, ok := result.Stats[paths.P50]; !ok {
			continue
		}
		row := []string{pathName(result.Case)}
		for _, f := range []paths.Figure{paths.P50, paths.P99, paths.P999, paths.Max, paths.PerSecond, paths.Unfairness} {
			row = append(row, statCell(result.Stats[f], 1))
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// rateTable has what came each second.
func rateTable(r paths.Report) Table {
	t := Table{Title: "Rates, MB/s", Head: []string{"", "memory", "by background", "whole drain", "with headers", "CPU s/GiB", "connections", "pages/s"}}
	for _, result := range r.Results {
		s := result.Stats
		if s[paths.Rate].Rounds == 0 && result.Kind != paths.Serial {
			continue
		}
		t.Rows = append(t.Rows, []string{
			pathName(result.Case), statCell(s[paths.Rate], 1e6), statCell(s[paths.BulkRate], 1e6), statCell(s[paths.WholeRate], 1e6),
			statCell(s[paths.WireRate], 1e6), statCell(s[paths.CPU], 1), figure(s[paths.Connections].Median), statCell(s[paths.PagesPerSecond], 1),
		})
	}
	return t
}

// pathName names a case as in a table.
func pathName(c paths.Case) string {
	return strings.Replace(c.String(), string(c.Kind), pathNames[c.Kind], 1)
}

// statCell is the median of a figure in a unit, and its spread if it has one.
func statCell(s paths.Stat, unit float64) string {
	switch {
	case s.Rounds == 0:
		return "–"
	case s.Rounds == 1:
		return figure(s.Median / unit)
	default:
		return fmt.Sprintf("%s (%s–%s)", figure(s.Median/unit), figure(s.Least/unit), figure(s.Most/unit))
	}
}

// PathSummary is one measurement in a few words.
func PathSummary(f paths.Figures) string {
	var parts []string
	add := func(name paths.Figure, format string, unit float64) {
		if n, ok := f[name]; ok {
			parts = append(parts, fmt.Sprintf(format, n/unit))
		}
	}
	add(paths.P50, "p50 %.1f µs", 1)
	add(paths.P99, "p99 %.1f µs", 1)
	add(paths.Rate, "%.1f MB/s", 1e6)
	add(paths.CPU, "%.2f CPU s/GiB", 1)
	return strings.Join(parts, ", ")
}

// PathGaps says what there is no data of.
func PathGaps(r paths.Report) []string {
	var out []string
	for _, f := range r.Failed {
		out = append(out, fmt.Sprintf("Failed: %s, round %d: %s.", pathName(f.Case), f.Round+1, f.Error))
	}
	for _, s := range r.Skipped {
		out = append(out, fmt.Sprintf("Not measured: %s (%s).", s.What, s.Why))
	}
	return out
}

func writePaths(to io.Writer, r paths.Report) error {
	if _, err := fmt.Fprintf(to, "## Paths\n\n%s\n\n%s\n", PathOrigin(r), pathsLegend); err != nil {
		return err
	}
	for _, t := range PathTables(r) {
		if err := t.WriteMarkdown(to); err != nil {
			return err
		}
	}
	for _, text := range PathGaps(r) {
		if _, err := fmt.Fprintf(to, "%s\n\n", text); err != nil {
			return err
		}
	}
	return nil
}
