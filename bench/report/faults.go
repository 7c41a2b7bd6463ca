package report

import (
	"fmt"
	"slices"

	"github.com/lazymig/lazymig/bench/faults"
)

// names are the handlers in tables and figures.
var names = map[faults.Handler]string{
	faults.Floor:         "floor",
	faults.Zero:          "zero page",
	faults.LazymigCached: "lazymig, cached",
	faults.Lazymig:       "lazymig",
	faults.LazymigBulk:   "lazymig, busy link",
	faults.SerialQUIC:    "serial, QUIC",
	faults.SerialTCP:     "serial, TCP",
	faults.RoundTripQUIC: "QUIC round trip",
	faults.RoundTripTCP:  "TCP round trip",
}

// Name returns a handler's name for people.
func Name(h faults.Handler) string {
	if name, ok := names[h]; ok {
		return name
	}
	return string(h)
}

// FaultTables returns one table for each setting, in the order of the report,
// and with marks a last column that says where lazymig loses.
func FaultTables(r faults.Report, marks bool) []Table {
	var tables []Table
	for _, s := range settings(r) {
		t := Table{
			Title: settingTitle(s),
			Head:  []string{"µs", "p50", "p90", "p99", "p99.9", "max", "faults/s", "p50/limit"},
		}
		if marks {
			t.Head = append(t.Head, "lazymig/it p50", "p99")
		}
		own := find(r, faults.Case{Handler: faults.Lazymig, Setting: s})
		for _, h := range faults.Handlers() {
			result := find(r, caseOf(h, s))
			if result == nil {
				continue
			}
			row := faultRow(result)
			if marks {
				row = append(row, against(own, result)...)
			} else if note := verdict(own, result); note != "" {
				t.Notes = append(t.Notes, note)
			}
			t.Rows = append(t.Rows, row)
		}
		tables = append(tables, t)
	}
	return tables
}

// caseOf is where a handler's result for a setting is: round trips have one
// for each load.
func caseOf(h faults.Handler, s faults.Setting) faults.Case {
	if h.RoundTrip() {
		s.Memory, s.Threads = faults.None, 1
	}
	return faults.Case{Handler: h, Setting: s}
}

// settings returns what was measured, without the round trips'.
func settings(r faults.Report) []faults.Setting {
	var out []faults.Setting
	for _, result := range r.Results {
		if result.Memory != faults.None && !slices.Contains(out, result.Setting) {
			out = append(out, result.Setting)
		}
	}
	return out
}

func find(r faults.Report, c faults.Case) *faults.Result {
	for i := range r.Results {
		if r.Results[i].Case == c {
			return &r.Results[i]
		}
	}
	return nil
}

// Where says where a case was measured.
func Where(c faults.Case) string {
	if c.Memory == faults.None {
		return fmt.Sprintf("%s cores", c.Load)
	}
	return settingTitle(c.Setting)
}

func settingTitle(s faults.Setting) string {
	threads := "1 thread"
	if s.Threads != 1 {
		threads = fmt.Sprintf("%d threads", s.Threads)
	}
	return fmt.Sprintf("%s, %s memory, %s cores", threads, s.Memory, s.Load)
}

func faultRow(r *faults.Result) []string {
	return []string{
		Name(r.Handler), figure(r.P50), figure(r.P90), figure(r.P99), figure(r.P999), figure(r.Max),
		figure(r.PerSecond), figure(r.OverLimit),
	}
}

// against is how lazymig's median and p99 compare with those of a peer.
func against(own, peer *faults.Result) []string {
	if own == nil || !peer.Handler.Serial() {
		return []string{"", ""}
	}
	return []string{ratio(own.P50 / peer.P50), ratio(own.P99 / peer.P99)}
}

// ratio says of a ratio of times whether lazymig loses.
func ratio(n float64) string {
	if n > 1 {
		return fmt.Sprintf("**%.2f loses**", n)
	}
	return fmt.Sprintf("%.2f", n)
}

// verdict is against as a sentence.
func verdict(own, peer *faults.Result) string {
	if own == nil || !peer.Handler.Serial() {
		return ""
	}
	word := func(n float64) string {
		if n > 1 {
			return fmt.Sprintf("%.2f (loses)", n)
		}
		return fmt.Sprintf("%.2f", n)
	}
	return fmt.Sprintf("lazymig ÷ %s: p50 %s, p99 %s", Name(peer.Handler), word(own.P50/peer.P50), word(own.P99/peer.P99))
}
