package report

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/lazymig/lazymig/bench/faults"
)

// maxLine bounds a line of a file: a report with all its distributions is
// about 1 MiB.
const maxLine = 64 << 20

// ErrNothing is returned for files without anything that can be reported.
var ErrNothing = errors.New("no report and no chart in it")

// Set is what is reported together.
type Set struct {
	Faults     []faults.Report
	Migrations []Migration
	Charts     []Chart
}

// line is one of a file, as far as it is known.
type line struct {
	Event  string          `json:"event"`
	Kind   string          `json:"kind"`
	Report json.RawMessage `json:"report"`
	Chart  *Chart          `json:"chart"`
}

// Read adds the lines of a file to the set.
func (s *Set) Read(from io.Reader) error {
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, maxLine)
	found := false
	for n := 1; lines.Scan(); n++ {
		if len(lines.Bytes()) == 0 {
			continue
		}
		added, err := s.add(lines.Bytes())
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		found = found || added
	}
	if err := lines.Err(); err != nil {
		return err
	}
	if !found {
		return ErrNothing
	}
	return nil
}

func (s *Set) add(text []byte) (bool, error) {
	var l line
	if err := json.Unmarshal(text, &l); err != nil {
		return false, fmt.Errorf("not a JSON object: %w", err)
	}
	switch {
	case l.Kind == migrationKind:
		m, err := parseMigration(text)
		s.Migrations = append(s.Migrations, m)
		return true, err
	case l.Event == "chart" && l.Chart != nil:
		s.Charts = append(s.Charts, *l.Chart)
		return true, l.Chart.check()
	case l.Event != "report" || l.Report == nil:
		return false, nil
	}
	var kind struct {
		Kind string `json:"kind"`
	}
	if err := json.Unmarshal(l.Report, &kind); err != nil {
		return false, fmt.Errorf("read a report: %w", err)
	}
	if kind.Kind != faults.ReportKind {
		return false, nil
	}
	var r faults.Report
	if err := json.Unmarshal(l.Report, &r); err != nil {
		return false, fmt.Errorf("read a report of faults: %w", err)
	}
	s.Faults = append(s.Faults, r)
	return true, nil
}
