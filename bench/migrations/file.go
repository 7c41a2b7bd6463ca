package migrations

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// Read returns the migrations of a file of results. Lines of another kind are
// passed over. A last line without its end is of a run that was killed, and
// is passed over too.
func Read(file io.Reader) ([]Record, error) {
	lines := bufio.NewReader(file)
	var records []Record
	for number := 1; ; number++ {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return records, nil
		}
		if err != nil {
			return records, fmt.Errorf("read line %d of the results: %w", number, err)
		}
		var r Record
		if err := json.Unmarshal(line, &r); err != nil {
			return records, fmt.Errorf("read line %d of the results: %w", number, err)
		}
		if r.Kind != "migration" {
			continue
		}
		if r.Version > Version {
			return records, fmt.Errorf("read line %d of the results: a newer lazymig wrote it (version %d)", number, r.Version)
		}
		records = append(records, r)
	}
}

// OtherEnvironmentError is returned by Measure for a file with runs of another
// build, or made elsewhere: their figures do not belong together.
type OtherEnvironmentError struct {
	Path         string
	What         string // is different
	Theirs, Ours string
}

// Error says what is different.
func (e *OtherEnvironmentError) Error() string {
	return fmt.Sprintf("%s has runs of %s %q, and these are of %q", e.Path, e.What, e.Theirs, e.Ours)
}

// Hint says what to do.
func (*OtherEnvironmentError) Hint() string { return "use another file with --out" }

// check compares where a record was made with here.
func (e Environment) check(path string, here Environment) error {
	for _, part := range []struct{ what, theirs, ours string }{
		{"commit", e.Commit, here.Commit},
		{"accelerator", e.Accel, here.Accel},
		{"place", e.Place, here.Place},
		{"QEMU", e.QEMU, here.QEMU},
		{"kernel", e.Kernel, here.Kernel},
		{"processor", e.CPU, here.CPU},
	} {
		if part.theirs != part.ours {
			return &OtherEnvironmentError{Path: path, What: part.what, Theirs: part.theirs, Ours: part.ours}
		}
	}
	return nil
}

// made returns the runs that a file has; it may not exist yet. All have to be
// of this environment.
func made(path string, here Environment) (map[string]bool, error) {
	have := map[string]bool{}
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return have, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open the results: %w", err)
	}
	defer f.Close()
	records, err := Read(f)
	for _, r := range records {
		if err := r.Environment.check(path, here); err != nil {
			return nil, err
		}
		have[Run{Setting: r.Setting, Repeat: r.Repeat}.key()] = true
	}
	return have, err
}

// appendTo appends a record to a file, behind what has no end of a line.
func appendTo(path string, record Record) error {
	line, err := json.Marshal(record)
	if err != nil {
		return fmt.Errorf("encode a result: %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return fmt.Errorf("open the results: %w", err)
	}
	defer f.Close()
	end, err := wholeLines(f)
	if err != nil {
		return fmt.Errorf("read the results: %w", err)
	}
	if err := f.Truncate(end); err != nil {
		return fmt.Errorf("cut a broken line off the results: %w", err)
	}
	if _, err := f.WriteAt(append(line, '\n'), end); err != nil {
		return fmt.Errorf("write the results: %w", err)
	}
	return f.Close()
}

// wholeLines returns the length of a file without a last line that has no end.
func wholeLines(f *os.File) (int64, error) {
	text, err := io.ReadAll(f)
	if err != nil {
		return 0, err
	}
	for n := len(text); n > 0; n-- {
		if text[n-1] == '\n' {
			return int64(n), nil
		}
	}
	return 0, nil
}
