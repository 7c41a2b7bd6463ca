package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/lazymig/lazymig/bench/migrations"
)

const mib = 1 << 20

// column is one figure of a table; less is better.
type column struct {
	name string
	of   quantity
	// compared: lazymig's figure is set against the technique's.
	compared bool
}

// guestColumns are what the guest notices.
func guestColumns() []column {
	return []column{
		{"STOP→RESUME, ms", always(func(m migrations.Record) float64 { return m.StoppedMS }), true},
		{"gap, ms", always(gapOf), true},
		{"network faults before the first beat", faultsOf, false},
		{"worst op, ms", always(func(m migrations.Record) float64 { return m.WorstMS }), true},
		{"p99 op, ms", always(func(m migrations.Record) float64 { return m.P99MS }), false},
		{"back at 90 %, s", optional(func(m migrations.Record) *float64 { return m.RecoveredMS }), true},
		{"lost work, s", optional(func(m migrations.Record) *float64 { return m.LostWorkMS }), false},
	}
}

// costColumns are what the operator pays.
func costColumns() []column {
	return []column{
		{"source free, s", always(func(m migrations.Record) float64 { return m.FreeMS / 1000 }), true},
		{"MB sent", always(func(m migrations.Record) float64 { return float64(m.BytesOut) / 1e6 }), true},
		{"MB back", always(func(m migrations.Record) float64 { return float64(m.BytesBack) / 1e6 }), false},
		{"CPU s/GiB", always(func(m migrations.Record) float64 { return m.CPUPerGiB }), true},
		{"peak source, MiB", always(func(m migrations.Record) float64 { return float64(m.PeakSource) / mib }), false},
		{"peak dest., MiB", always(func(m migrations.Record) float64 { return float64(m.PeakDestination) / mib }), false},
	}
}

// faultsOf is a count that QEMU's own techniques do not tell.
func faultsOf(m migrations.Record) (float64, bool) {
	if m.FaultsBeforeBeat == nil {
		return 0, false
	}
	return float64(*m.FaultsBeforeBeat), true
}

func gapOf(m migrations.Record) float64 { return m.GapMS }

// migrationTables has two tables for each place: what the guest notices and
// what the operator pays; between them what caches are worth, if there were any. Where lazymig's figure over the technique's is above
// 1 lazymig loses.
func migrationTables(all []migrations.Record) []Table {
	var tables []Table
	for _, p := range groupBy(all, place) {
		rows := techniques(p.runs)
		guest := migrationTable(p.name, rows, guestColumns())
		guest.Rows = append(guest.Rows, floorRow(p, len(guest.Head)))
		cost := migrationTable("", rows, costColumns())
		for _, r := range rows {
			cost.Notes = append(cost.Notes, r.failures()...)
		}
		tables = append(tables, guest)
		if caches, ok := cacheTable(rows); ok {
			tables = append(tables, caches)
		}
		tables = append(tables, cost)
	}
	return tables
}

func migrationTable(title string, rows []group, columns []column) Table {
	t := Table{Title: title, Head: []string{"", "verified"}}
	for _, c := range columns {
		t.Head = append(t.Head, c.name)
		if c.compared {
			t.Head = append(t.Head, "lazymig/it")
		}
	}
	var mine group
	if len(rows) > 0 && rows[0].name == own {
		mine = rows[0].good()
	}
	for _, g := range rows {
		good := g.good()
		row := []string{g.name, fmt.Sprintf("%d of %d", len(good.runs), len(g.runs))}
		for _, c := range columns {
			s := good.over(c.of)
			row = append(row, s.String())
			if c.compared {
				row = append(row, compared(g.name, mine.over(c.of).median, s.median))
			}
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// floorRow is what no technique can beat: the gap when the guest is stopped and
// goes on in place.
func floorRow(p group, cells int) []string {
	row := make([]string, cells)
	row[0] = "floor: stopped in place"
	at := 2
	for _, c := range guestColumns() {
		if c.name == "gap, ms" {
			row[at] = p.good().over(always(func(m migrations.Record) float64 { return m.FloorMS })).String()
		}
		at++
		if c.compared {
			at++
		}
	}
	return row
}

func compared(technique string, mine, other float64) string {
	if strings.HasPrefix(technique, own) || mine == 0 || other == 0 {
		return ""
	}
	return ratio(mine / other)
}

// migrationOrigin says where the figures come from.
func migrationOrigin(all []migrations.Record) string {
	e := all[0].Environment
	loads := make([]float64, len(all))
	var commits []string
	for i, m := range all {
		loads[i] = m.Environment.LoadStart
		if !slices.Contains(commits, m.Environment.Commit) {
			commits = append(commits, m.Environment.Commit)
		}
	}
	slices.Sort(loads)
	slices.Sort(commits)
	measuring := group{runs: all}.over(func(m migrations.Record) (float64, bool) {
		return m.MeasuringCPU / (m.FreeMS / 1000) * 100, m.FreeMS > 0 && m.MeasuringCPU > 0 && m.RTTMS+m.Loss+m.JitterMS == 0
	})
	measuring.of = measuring.count // those on delayed paths have the relay in it
	return fmt.Sprintf("%d runs on %s, %d cores, Linux %s, QEMU %s (%s), %s, commit %s; load average before a run %.1f (%.1f–%.1f), of which the run before it is a part; measuring took %s %% of a processor without the relay.",
		len(all), e.CPU, e.CPUs, e.Kernel, e.QEMU, e.Accel, e.Place, andList(commits), loads[len(loads)/2], loads[0], loads[len(loads)-1], measuring)
}

// andList joins names.
func andList(names []string) string {
	text := ""
	for i, n := range names {
		if i > 0 {
			text += " and "
		}
		text += n
	}
	return text
}
