package report

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lazymig/lazymig/bench/migrations"
)

// migrationKind is the kind of a line with a measured migration.
const migrationKind = "migration"

// maxReason bounds what a table says of a failed run, in bytes.
const maxReason = 160

// own is the name under which lazymig's rows stand.
const own = string(migrations.Lazymig)

func parseMigration(text []byte) (migrations.Record, error) {
	var m migrations.Record
	if err := json.Unmarshal(text, &m); err != nil {
		return m, fmt.Errorf("read a migration: %w", err)
	}
	return m, nil
}

// label names what is compared separately.
func label(m migrations.Record) string {
	name := string(m.Technique)
	if m.Technique != migrations.Lazymig && m.TLS {
		name += ", TLS"
	}
	if m.RAM == migrations.RAMPlain {
		name += ", plain RAM"
	}
	if m.Cache != migrations.NoCache {
		name += ", " + string(m.Cache)
	}
	return name
}

// place is where a migration was measured: techniques are compared only in the
// same one.
func place(m migrations.Record) string {
	rate := "no limit"
	switch {
	case m.RateBits >= 1e9:
		rate = fmt.Sprintf("%g Gbit/s", float64(m.RateBits)/1e9)
	case m.RateBits > 0:
		rate = fmt.Sprintf("%g Mbit/s", float64(m.RateBits)/1e6)
	}
	text := fmt.Sprintf("%s, %g ms", rate, m.RTTMS)
	if m.JitterMS > 0 {
		text += fmt.Sprintf(" ± %g ms", m.JitterMS)
	}
	text += fmt.Sprintf(", %g %% loss, guest %s, %d of %d MiB", 100*m.Loss, m.Guest, m.ChangingMiB, m.MemoryMiB)
	if e := m.Environment; e.Place != "" && e.Place != migrations.Namespaces || e.Accel == "kvm" {
		text += fmt.Sprintf(", %s, %s", e.Place, e.Accel)
	}
	return text
}

// group is the runs of one place or technique.
type group struct {
	name string
	runs []migrations.Record
}

// groupBy groups runs by a name; the groups come in the order of the file.
func groupBy(all []migrations.Record, name func(migrations.Record) string) []group {
	var groups []group
	at := map[string]int{}
	for _, m := range all {
		n := name(m)
		i, ok := at[n]
		if !ok {
			i = len(groups)
			at[n] = i
			groups = append(groups, group{name: n})
		}
		groups[i].runs = append(groups[i].runs, m)
	}
	return groups
}

// techniques groups the runs of one place, lazymig first.
func techniques(all []migrations.Record) []group {
	groups := groupBy(all, label)
	slices.SortStableFunc(groups, func(a, b group) int {
		switch {
		case a.name == own && b.name != own:
			return -1
		case b.name == own && a.name != own:
			return 1
		default:
			return 0
		}
	})
	return groups
}

// good returns the runs that count.
func (g group) good() group {
	var runs []migrations.Record
	for _, m := range g.runs {
		if m.Outcome == migrations.Verified {
			runs = append(runs, m)
		}
	}
	return group{g.name, runs}
}

// failures says how often runs failed, and why.
func (g group) failures() []string {
	count := map[string]int{}
	for _, m := range g.runs {
		if m.Outcome != migrations.Verified {
			reason, _, _ := strings.Cut(m.Error, "\n")
			count[reason[:min(len(reason), maxReason)]]++
		}
	}
	var notes []string
	for _, reason := range slices.Sorted(maps.Keys(count)) {
		notes = append(notes, fmt.Sprintf("%s failed in %d of %d runs: %s.", g.name, count[reason], len(g.runs), reason))
	}
	return notes
}

// spread is the median of some figures, the smallest and the largest.
type spread struct {
	median, least, most float64
	count, of           int // how many runs can tell, of all
}

// over returns the spread of what the runs can tell.
func (g group) over(of quantity) spread {
	var figures []float64
	for _, m := range g.runs {
		if n, ok := of(m); ok {
			figures = append(figures, n)
		}
	}
	if len(figures) == 0 {
		return spread{of: len(g.runs)}
	}
	slices.Sort(figures)
	middle := (figures[(len(figures)-1)/2] + figures[len(figures)/2]) / 2
	return spread{middle, figures[0], figures[len(figures)-1], len(figures), len(g.runs)}
}

func (s spread) String() string {
	text := figure(s.median)
	if s.count > 0 && s.median == 0 {
		text = "0"
	}
	if s.count > 1 && s.most > 0 {
		least := "0"
		if s.least > 0 {
			least = figure(s.least)
		}
		text += fmt.Sprintf(" (%s–%s)", least, figure(s.most))
	}
	if s.count > 0 && s.count < s.of { // the others have never come to it
		text += fmt.Sprintf(", %d of %d", s.count, s.of)
	}
	return text
}

// quantity is one figure of a run, and whether the run has it.
type quantity func(migrations.Record) (float64, bool)

// always is a figure that every run has.
func always(f func(migrations.Record) float64) quantity {
	return func(m migrations.Record) (float64, bool) { return f(m), true }
}

// optional is a figure in ms that a run may lack, in seconds.
func optional(f func(migrations.Record) *float64) quantity {
	return func(m migrations.Record) (float64, bool) {
		n := f(m)
		if n == nil {
			return 0, false
		}
		return *n / 1000, true
	}
}
