package report

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares text with a file.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; got:\n%s", name, got)
	}
}

func read(t *testing.T, names ...string) Set {
	t.Helper()
	var s Set
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Read(bytes.NewReader(text)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	return s
}

func TestMarkdown(t *testing.T) {
	for golds, files := range map[string][]string{
		"faults.md":     {"faults.jsonl"},
		"charts.md":     {"charts.jsonl"},
		"migrations.md": {"migrations.jsonl"},
		"paths.md":      {"paths.jsonl"},
		"all.md":        {"faults.jsonl", "charts.jsonl", "migrations.jsonl"},
	} {
		var b bytes.Buffer
		if err := read(t, files...).Markdown(&b, func(name string) string { return name + ".svg" }); err != nil {
			t.Fatal(err)
		}
		golden(t, golds, b.String())
	}
}

func TestText(t *testing.T) {
	var b bytes.Buffer
	for _, table := range FaultTables(read(t, "faults.jsonl").Faults[0], false) {
		if err := table.WriteText(&b); err != nil {
			t.Fatal(err)
		}
	}
	golden(t, "faults.txt", b.String())
	narrow(t, b.String())
	b.Reset()
	for _, table := range PathTables(read(t, "paths.jsonl").Paths[0], false) {
		if err := table.WriteText(&b); err != nil {
			t.Fatal(err)
		}
	}
	golden(t, "paths.txt", b.String())
	narrow(t, b.String())
}

// narrow fails for lines that do not fit a terminal.
func narrow(t *testing.T, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}

func TestFigures(t *testing.T) {
	names := map[string]bool{}
	for _, f := range read(t, "faults.jsonl", "faults.jsonl", "charts.jsonl", "migrations.jsonl").Figures() {
		if names[f.Name] {
			t.Errorf("two figures are %s", f.Name)
		}
		names[f.Name] = true
		if f.Title == "" || f.Y.Label == "" || (f.Bars == nil && (f.X.Label == "" || len(f.Lines) == 0)) {
			t.Errorf("%s lacks something: %+v", f.Name, f)
		}
	}
	for _, want := range []string{"faults-idle-1", "faults-busy-4", "faults2-idle-1", "guest-throughput", "bytes", "rtt", "migrations-guest", "migrations-rtt", "migrations-gap", "migrations-origin"} {
		if !names[want] {
			t.Errorf("no figure %s in %v", want, names)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                        ErrNothing.Error(),
		"\n{\"event\":\"other\"}": ErrNothing.Error(),
		"{}\nnonsense":            "line 2: not a JSON object",
		`{"event":"report","report":{"kind":"other"}}`:                       ErrNothing.Error(),
		`{"event":"report","report":7}`:                                      "read a report",
		`{"event":"report","report":{"kind":"faults","results":7}}`:          "read a report",
		`{"kind":"migration","series":7}`:                                    "read a migration",
		`{"event":"chart","chart":{"kind":"pie","name":"a"}}`:                `no kind "pie"`,
		`{"event":"chart","chart":{"kind":"bytes-by-origin","name":"../a"}}`: `name "../a"`,
		`{"event":"chart","chart":{"kind":"bytes-by-origin","name":"a"}}`:    "no bars",
		`{"event":"chart","chart":{"kind":"bytes-by-origin","name":"a","bars":{"groups":["x"],"parts":[{"name":"p","values":[1,2]}]}}}`: "2 values for 1 bars",
		`{"event":"chart","chart":{"kind":"guest-throughput","name":"a"}}`:                                                              "no series",
		`{"event":"chart","chart":{"kind":"guest-throughput","name":"a","series":[{"name":"s"}]}}`:                                      "no points",
		`{"event":"chart","chart":{"kind":"throughput-over-rtt","name":"a","series":[{"name":"s","points":[[0,1]]}]}}`:                  "logarithmic",
	} {
		var s Set
		if err := s.Read(strings.NewReader(text + "\n")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	var s Set
	if err := s.Read(strings.NewReader(`{}`)); !errors.Is(err, ErrNothing) {
		t.Error(err)
	}
	if err := s.Read(strings.NewReader("{\"kind\":\"migration\"}\n{\"kind\":\"migr")); err != nil || len(s.Migrations) != 1 {
		t.Errorf("a last line that is cut off: %v, %d migrations", err, len(s.Migrations))
	}
}

func TestFigureText(t *testing.T) {
	for n, want := range map[float64]string{
		0: "–", 0.123: "0.12", 9.994: "9.99", 12.34: "12.3", 123.4: "123", 9999: "9999", 12345: "12\u00a0345", 1234567: "1\u00a0234\u00a0567",
	} {
		if got := figure(n); got != want {
			t.Errorf("%g: %q, want %q", n, got, want)
		}
	}
}
