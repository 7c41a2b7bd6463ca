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
tenth to nine tenths of the pages, **whole** that from the hand-off to the last page. **wire**: what the destination's cable counted, headers included. **bulk**: what the background brought. **s/GiB**: CPU of both
ends. **conns**: connections of the background, or flows; without them lazymig has one more for pages that threads wait for. **floor**: a handler that copies a page of its own; on busy cores one thread a core
computes all the time. **lazymig, all**: a thread reads all of the memory at random, from the hand-off on; **serial**: the handler of userfaultfd-go, which reads a part of it.
`

// PathOrigin says where the figures come from.
func PathOrigin(r paths.Report) string {
	return origin(r.Quick, r.Rounds, r.Seconds, r.Machine)
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
		out = append(out, fmt.Sprintf("Failed: %s, round %d: %s.", f.Case, f.Round+1, f.Error))
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
	for _, t := range PathTables(r, true) {
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
