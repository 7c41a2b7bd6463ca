package report

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/lazymig/lazymig/bench/faults"
	"github.com/lazymig/lazymig/bench/migrations"
	"github.com/lazymig/lazymig/bench/paths"
)

// maxLine bounds a line of a file: a report with all its distributions is
// about 1 MiB.
const maxLine = 64 << 20

// ErrNothing is returned for files without anything that can be reported.
var ErrNothing = errors.New("no report and no chart in it")

// Set is what is reported together.
type Set struct {
	Faults     []faults.Report
	Paths      []paths.Report
	Migrations []migrations.Record
	Charts     []Chart
}

// line is one of a file, as far as it is known.
type line struct {
	Event  string          `json:"event"`
	Kind   string          `json:"kind"`
	Report json.RawMessage `json:"report"`
	Chart  *Chart          `json:"chart"`
}

// Read adds the lines of a file to the set. A last line that is cut off is
// passed over.
func (s *Set) Read(from io.Reader) error {
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, maxLine)
	lines.Split(wholeLines)
	found := false
	for n := 1; lines.Scan(); n++ {
		text := bytes.TrimSpace(lines.Bytes())
		if len(text) == 0 {
			continue
		}
		added, err := s.add(text)
		if err != nil && lines.Bytes()[len(lines.Bytes())-1] != '\n' {
			break // whoever wrote it was stopped
		}
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

// wholeLines is bufio.ScanLines that leaves the end of a line there.
func wholeLines(data []byte, atEnd bool) (advance int, token []byte, err error) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return i + 1, data[:i+1], nil
	}
	if atEnd && len(data) > 0 {
		return len(data), data, nil
	}
	return 0, nil, nil
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
	switch kind.Kind {
	case faults.ReportKind:
		return true, addReport(&s.Faults, l.Report)
	case paths.ReportKind:
		return true, addReport(&s.Paths, l.Report)
	default:
		return false, nil
	}
}

// addReport decodes a report into a list of its kind.
func addReport[R any](to *[]R, text []byte) error {
	var r R
	if err := json.Unmarshal(text, &r); err != nil {
		return fmt.Errorf("read a report: %w", err)
	}
	*to = append(*to, r)
	return nil
}
