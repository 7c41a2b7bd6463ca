package migrate

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/lazymig/lazymig"
)

// poisonList remembers which pages of a guest hardware has lost. The mark of
// UFFDIO_POISON lives in the VMM's page tables only and the RAM file reads
// zeros there, so a later move needs this list to know better. It is a file of
// one JSON object a line, or without a path a list in memory only. One goroutine
// uses it at a time.
type poisonList struct {
	path   string
	layout lazymig.Layout
	pages  map[lazymig.PageNumber]struct{}
}

// poisonRecord names a page by its region, so that it is found again in a
// layout of another order. Offset is in bytes.
type poisonRecord struct {
	Region string `json:"region"`
	Offset uint64 `json:"offset"`
}

// openPoisonList reads the list at path; a missing file is an empty list.
func openPoisonList(path string, layout lazymig.Layout) (*poisonList, error) {
	l := &poisonList{path: path, layout: layout, pages: map[lazymig.PageNumber]struct{}{}}
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open list of poisoned pages: %w", err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		var r poisonRecord
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return nil, fmt.Errorf("read list of poisoned pages %s: %w", path, err)
		}
		if p, ok := l.find(r); ok {
			l.pages[p] = struct{}{}
		}
	}
	return l, lines.Err()
}

func (l *poisonList) find(r poisonRecord) (lazymig.PageNumber, bool) {
	for i, region := range l.layout {
		if region.Name == r.Region && r.Offset < region.Size {
			return l.layout.First(i) + lazymig.PageNumber(r.Offset/lazymig.PageSize), true
		}
	}
	return 0, false
}

// reset forgets all pages: another guest memory begins.
func (l *poisonList) reset() error {
	clear(l.pages)
	if err := os.Remove(l.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("clear list of poisoned pages: %w", err)
	}
	return nil
}

// has reports whether p is on the list.
func (l *poisonList) has(p lazymig.PageNumber) bool {
	_, ok := l.pages[p]
	return ok
}

// add puts p on the list and returns when it is durable.
func (l *poisonList) add(p lazymig.PageNumber) error {
	if l.has(p) {
		return nil
	}
	if len(l.pages) >= maxPoisoned {
		return fmt.Errorf("note poisoned page %d: more than %d pages are lost", p, maxPoisoned)
	}
	region, offset, _ := l.layout.Locate(p)
	line, err := json.Marshal(poisonRecord{Region: l.layout[region].Name, Offset: offset})
	if err != nil {
		return fmt.Errorf("note poisoned page %d: %w", p, err)
	}
	if l.path == "" { // a snapshot keeps what it lost
		l.pages[p] = struct{}{}
		return nil
	}
	file, err := os.OpenFile(l.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("note poisoned page %d: %w", p, err)
	}
	_, err = file.Write(append(line, '\n'))
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return fmt.Errorf("note poisoned page %d: %w", p, err)
	}
	l.pages[p] = struct{}{}
	return nil
}
