package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/lazymig/lazymig/bench/migrations"
)

// migrationTable shows runs as they come: a table on out, or JSON lines, and
// what is under way on err.
type migrationTable struct {
	out, err io.Writer
	json     bool
	begun    bool
	failed   int
	verified int
}

func (t *migrationTable) begin(number, of int, run migrations.Run) {
	fmt.Fprintf(t.err, "lazymig: run %d of %d: %s, %s\n", number, of, run.Setting.Technique, describeLink(run.Setting))
}

// row shows a run that has ended.
func (t *migrationTable) row(r migrations.Record) {
	if r.Outcome == migrations.Verified {
		t.verified++
	} else {
		t.failed++
	}
	if t.json {
		_ = json.NewEncoder(t.out).Encode(r) // it is in the file
		return
	}
	if !t.begun {
		t.begun = true
		fmt.Fprintf(t.out, tableLine, "technique", "guest and link", "gap", "worst op", "90% back", "free")
	}
	if r.Outcome != migrations.Verified {
		reason, _, _ := strings.Cut(r.Error, "\n")
		fmt.Fprintf(t.out, "%-17s %-22s failed: %.28s\n", r.Technique, describeLink(r.Setting), reason)
		return
	}
	back, worst := "-", "-"
	if r.WorstMS > 0 {
		worst = fmt.Sprintf("%.0f ms", r.WorstMS)
	}
	if r.RecoveredMS != nil {
		back = seconds(*r.RecoveredMS)
	}
	fmt.Fprintf(t.out, tableLine, r.Technique, describeLink(r.Setting), fmt.Sprintf("%.0f ms", r.GapMS), worst, back, seconds(r.FreeMS))
}

func seconds(ms float64) string { return fmt.Sprintf("%.1f s", ms/1000) }

func (t *migrationTable) end(file string, runs int) {
	fmt.Fprintf(t.err, "lazymig: %d runs verified, %d failed, %d were in %s before\n", t.verified, t.failed, runs-t.verified-t.failed, file)
}
