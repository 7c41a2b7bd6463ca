package failover

import (
	"errors"
	"slices"

	"github.com/lazymig/lazymig"
)

var errDisk = errors.New("simulated disk error")

// entry is a record in a simulated journal file.
type entry struct {
	record Record
	synced bool
}

// disk is the journal of a simulated host: what processes see, and what a
// power cut may make of it.
type disk struct {
	w       *world
	entries []entry
	old     []entry // also possible after a power cut: the rename is not synced
}

func (d *disk) records() []Record {
	var records []Record
	for _, e := range d.entries {
		records = append(records, e.record)
	}
	return records
}

func (d *disk) last() Record {
	if len(d.entries) == 0 {
		return Record{}
	}
	return d.entries[len(d.entries)-1].record
}

// durable reports whether a record survives a power cut for certain.
func (d *disk) durable(s State, epoch lazymig.Epoch) bool {
	has := func(entries []entry) bool {
		return slices.ContainsFunc(entries, func(e entry) bool {
			return e.synced && e.record.State == s && e.record.Epoch == epoch
		})
	}
	return has(d.entries) && (d.old == nil || has(d.old))
}

// powerCut loses any of what is not synced.
func (d *disk) powerCut() {
	if d.old != nil && d.w.chance(0.5) {
		d.entries = d.old
	}
	d.old = nil
	d.entries = slices.DeleteFunc(d.entries, func(e entry) bool { return !e.synced && d.w.chance(0.5) })
	for i := range d.entries {
		d.entries[i].synced = true
	}
}

// simLog is a process's handle of a disk, with the promises of Journal.
type simLog struct {
	disk    *disk
	records []Record
	rewrite bool
}

func newSimLog(d *disk) *simLog {
	return &simLog{disk: d, records: d.records(), rewrite: true}
}

func (l *simLog) Append(r Record, force bool) error {
	w := l.disk.w
	w.point()
	if l.rewrite {
		return l.replace(append(slices.Clone(l.records), r))
	}
	fails := w.chance(w.faults)
	if !fails || w.chance(0.5) {
		l.disk.entries = append(l.disk.entries, entry{record: r})
	}
	w.point()
	if fails {
		l.rewrite = true
		return errDisk
	}
	l.records = append(l.records, r)
	if force {
		l.sync()
	}
	w.point()
	return nil
}

func (l *simLog) sync() {
	for i := range l.disk.entries {
		l.disk.entries[i].synced = true
	}
}

func (l *simLog) replace(records []Record) error {
	w, d := l.disk.w, l.disk
	entries := make([]entry, len(records))
	for i, r := range records {
		entries[i] = entry{record: r, synced: true}
	}
	fails := w.chance(w.faults)
	switch {
	case fails && w.chance(0.5):
		return errDisk // before the rename
	case fails:
		if d.old == nil {
			d.old = slices.Clone(d.entries)
		}
		d.entries = entries
		return errDisk // before the sync of the directory
	}
	d.entries, d.old = entries, nil
	l.records, l.rewrite = records, false
	w.point()
	return nil
}

func (l *simLog) Sync() error {
	w := l.disk.w
	w.point()
	if l.rewrite {
		return l.replace(slices.Clone(l.records))
	}
	if w.chance(w.faults) {
		l.rewrite = true
		return errDisk
	}
	l.sync()
	return nil
}
