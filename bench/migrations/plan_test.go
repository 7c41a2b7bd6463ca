package migrations

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPlan(t *testing.T) {
	techniques := []Technique{Lazymig, PostCopyPreempt}
	runs := Plan(Base(), Factors(), techniques, 2)
	seen := map[string]bool{}
	turn := 0
	for _, r := range runs {
		if seen[r.key()] {
			t.Errorf("%s is planned twice", r.key())
		}
		seen[r.key()] = true
		if r.Factor == string(FactorTLS) || r.Factor == string(FactorCache) {
			continue // lazymig's is the base, and the others have no cache
		}
		if want := techniques[turn%2]; r.Setting.Technique != want {
			t.Errorf("%s, want %s: they take turns", r.key(), want)
		}
		turn++
		if changed := changes(r.Setting); (changed != 0) != (r.Factor != string(FactorBase)) || changed > 1 {
			t.Errorf("%s changes %d things of the base", r.key(), changed)
		}
	}
	// The base, 2 other rates, 6 delays, 3 losses, 5 guests; TLS for one; two
	// guests for caches, and 10 of these for one.
	if want := (17*2 + 1 + 2*2 + 10) * 2; len(runs) != want {
		t.Errorf("%d runs, want %d", len(runs), want)
	}
	if half := len(runs) / 2; runs[half-1].Repeat != 1 || runs[half].Repeat != 2 {
		t.Error("a setting is repeated before all others had their turn")
	}
}

func changes(s Setting) int {
	n := 0
	base := Base()
	for _, changed := range []bool{s.RateBits != base.RateBits, s.RTTMS != base.RTTMS, s.Loss != base.Loss, s.Guest != base.Guest, s.TLS} {
		if changed {
			n++
		}
	}
	return n
}

func TestTechniques(t *testing.T) {
	for _, technique := range Techniques() {
		if got, err := ParseTechnique(string(technique)); got != technique || err != nil {
			t.Errorf("%s: %q, %v", technique, got, err)
		}
		// Their QEMU refuses both at once.
		has := strings.Join(technique.capabilities(), " ")
		if strings.Contains(has, "multifd") && strings.Contains(has, "postcopy") {
			t.Errorf("%s: %s", technique, has)
		}
	}
	for _, bad := range []string{"", "live"} {
		if _, err := ParseTechnique(bad); err == nil {
			t.Errorf("%q is a technique", bad)
		}
		if _, err := ParseGuest(bad); err == nil {
			t.Errorf("%q is a guest", bad)
		}
		if _, err := ParseFactor(bad); err == nil {
			t.Errorf("%q is a factor", bad)
		}
	}
}

func TestResultsFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "results")
	run := Plan(Base(), nil, []Technique{Lazymig, PostCopy}, 1)
	record := func(i int) Record {
		return Record{
			Version: Version, Kind: "migration", Setting: run[i].Setting, Repeat: 1, Outcome: Verified,
			Results: Results{GapMS: 12.5, RecoveredMS: pointer(7)}, Series: []Point{{AtMS: -10, Ops: 3}},
		}
	}
	if have, err := made(path, Environment{}); len(have) != 0 || err != nil {
		t.Errorf("a file that is not there: %v, %v", have, err)
	}
	if err := appendTo(path, record(0)); err != nil {
		t.Fatal(err)
	}
	if _, err := made(path, Environment{Commit: "another"}); !errors.As(err, new(*OtherEnvironmentError)) {
		t.Errorf("with runs of another build: %v", err)
	}
	breakLine(t, path)
	have, err := made(path, Environment{})
	if err != nil || !have[run[0].key()] || have[run[1].key()] {
		t.Errorf("with a broken last line: %v, %v", have, err)
	}
	if err := appendTo(path, record(1)); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	records, err := Read(bytes.NewReader(text))
	if err != nil || len(records) != 2 {
		t.Fatalf("%d records, %v", len(records), err)
	}
	got, err := json.Marshal(records[1])
	want, _ := json.Marshal(record(1))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s came back as %s, %v", want, got, err)
	}
}

// breakLine ends the file as a process does that is killed while it writes.
func breakLine(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(`{"version":1,"kind":"migr`); err != nil {
		t.Fatal(err)
	}
}

func TestReadRefuses(t *testing.T) {
	for _, text := range []string{"garbage\n", `{"version":99,"kind":"migration"}` + "\n"} {
		if _, err := Read(strings.NewReader(text)); err == nil {
			t.Errorf("%q was read", text)
		}
	}
	if records, err := Read(strings.NewReader(`{"version":7,"kind":"fault"}` + "\n")); len(records) != 0 || err != nil {
		t.Errorf("another kind: %v, %v", records, err)
	}
}

func TestTimeouts(t *testing.T) {
	base := Base()
	if plain := base.timeout(); plain < moveTimeout+4*5*1e9 || plain > moveTimeout+4*6*1e9 {
		t.Errorf("600 MiB at 1 Gbit/s may take %v", plain)
	}
	far := base
	far.RTTMS = 50
	if base.timeout() >= far.timeout() {
		t.Errorf("a long path may take %v, a short one %v", far.timeout(), base.timeout())
	}
	slow := base
	slow.RateBits = 10e6
	if slow.timeout() <= far.timeout() {
		t.Errorf("a slow link may take %v, a long path %v", slow.timeout(), far.timeout())
	}
}
