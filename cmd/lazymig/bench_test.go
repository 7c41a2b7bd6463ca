package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/lazymig/lazymig/bench/migrations"
)

func TestBenchMigrateUsage(t *testing.T) {
	for flags, want := range map[string]string{
		"":                                   "give --out FILE",
		"--out x --factors speed":            `"speed" is no factor`,
		"--out x --techniques live":          `"live" is no technique`,
		"--out x --guest busy":               `"busy" is no guest`,
		"--out x --repeat 0":                 "invalid --repeat",
		"--out x --loss 51":                  "invalid link",
		"--out x --rtt 2s":                   "invalid link",
		"--out x --jitter -1s":               "invalid link",
		"--out x --bandwidth 5":              "is not a rate",
		"--out x --accel fast":               "use tcg or kvm",
		"--out x --peer-ram file":            "use shared or plain",
		"--out x surplus":                    "unknown command",
		"--out x --qemu /nonexistent/qemu-x": "ask QEMU for its version",
	} {
		var out, problems bytes.Buffer
		a := &app{out: &out, err: &problems}
		code := a.run(append([]string{"bench", "migrate"}, strings.Fields(flags)...))
		wantCode := exitUsage
		if strings.Contains(flags, "--qemu") {
			wantCode = exitFailed
		}
		if code != wantCode || !strings.Contains(problems.String(), want) {
			t.Errorf("%q: exit code %d: %s", flags, code, problems.String())
		}
	}
}

func TestBenchMigratePlan(t *testing.T) {
	f := benchMigrateFlags{
		factors: []string{"rtt"}, techniques: names(migrations.DefaultTechniques()), repeat: 2, bandwidth: noLimit,
		guest: "idle", peerRAM: "plain", loss: 0.5, tls: true, accel: "tcg",
	}
	runs, err := f.plan()
	if err != nil || len(runs) != 2*7*5 {
		t.Fatalf("%d runs, %v", len(runs), err)
	}
	for _, r := range runs {
		s, own := r.Setting, r.Setting.Technique == migrations.Lazymig
		if s.RateBits != 0 || s.Loss != 0.005 || s.Guest != migrations.Idle || s.TLS == own || (s.RAM == migrations.RAMShared) != own {
			t.Errorf("%+v", s)
		}
	}
	f.quick = true
	if runs, err := f.plan(); err != nil || len(runs) != 2 {
		t.Errorf("quick: %d runs, %v", len(runs), err)
	}
}

// TestMigrationTable: what comes fits a terminal, whatever it is.
func TestMigrationTable(t *testing.T) {
	var out, progress bytes.Buffer
	table := &migrationTable{out: &out, err: &progress}
	back := 123456.0
	for _, technique := range migrations.Techniques() {
		r := migrations.Record{Outcome: migrations.Verified, Results: migrations.Results{GapMS: 99999, WorstMS: 99999, FreeMS: 123456, RecoveredMS: &back}}
		r.Setting = migrations.Base()
		r.Technique = technique
		table.row(r)
		r.Outcome, r.Error = migrations.Failed, strings.Repeat("long ", 50)+"\nand more"
		table.row(r)
		r.Outcome, r.RecoveredMS, r.Guest, r.RateBits = migrations.Verified, nil, migrations.Incompressible, 100e6
		table.row(r)
	}
	table.end("file", 23)
	for line := range lines(out.String()) {
		if len(line) > lineWidth {
			t.Errorf("%d columns: %s", len(line), line)
		}
	}
	if !strings.Contains(progress.String(), "14 runs verified, 7 failed, 2 were in file before") {
		t.Errorf("end: %s", progress.String())
	}
	out.Reset()
	table.json = true
	table.row(migrations.Record{Version: 1})
	var r migrations.Record
	if err := json.Unmarshal(out.Bytes(), &r); err != nil || r.Version != 1 {
		t.Errorf("JSON: %v: %s", err, out.String())
	}
}
