package failover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

const (
	journalName = "journal"
	newName     = "journal.new"
	lockName    = "journal.lock"
)

// Journal is the durable history of one VM on one host, in DIR/journal.
//
//  1. The first append of a process, the append after a failed one, and the
//     append to a full file write a new file: the last records and the new one,
//     fsync, rename over the old file, fsync of the directory. So damaged slots
//     go, the size is bounded, and the last record is in one file or the other.
//  2. Every other append writes one 512-byte slot in place, forced by fdatasync
//     if asked.
//  3. A file whose write or sync failed is never touched again: a second
//     fdatasync may report success for data that the first one lost. Until 1
//     succeeds, the outcome of the failed append is unknown; after it, the
//     failed record is not in the journal.
type Journal struct {
	dir  string
	lock *os.File

	mu      sync.Mutex // protects all below
	records []Record
	file    *os.File // nil: the next append writes a new file
	used    int      // slots of file
	closed  bool
}

// OpenJournal opens the journal in dir, which it creates if it is missing, and
// locks it against other processes. It returns an error that wraps ErrBusy
// and names the process that holds it, or ErrCorrupt.
func OpenJournal(dir string) (*Journal, error) {
	if err := makeDir(dir); err != nil {
		return nil, fmt.Errorf("create the state directory of the VM: %w", err)
	}
	lock, err := acquireLock(filepath.Join(dir, lockName))
	if err != nil {
		return nil, fmt.Errorf("lock journal in %s: %w", dir, err)
	}
	records, err := ReadJournal(dir)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return &Journal{dir: dir, lock: lock, records: records}, nil
}

// AwaitJournal is OpenJournal for a keeper, whose engine has died but may not
// have closed all its descriptors yet: it waits for the lock until ctx ends,
// and then returns an error that wraps ErrBusy.
func AwaitJournal(ctx context.Context, dir string) (*Journal, error) {
	tick := time.NewTicker(lockPoll)
	defer tick.Stop()
	for {
		j, err := OpenJournal(dir)
		if !errors.Is(err, ErrBusy) {
			return j, err
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(err, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// ReadJournal returns the records of the journal in dir, oldest first, without
// taking its lock: none if there is no journal. A record that is being written
// may be missing. The error wraps ErrCorrupt if the journal cannot be trusted.
func ReadJournal(dir string) ([]Record, error) {
	path := filepath.Join(dir, journalName)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	image, err := io.ReadAll(io.LimitReader(f, journalSlots*slotSize+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("read journal %s: %w", path, err)
	}
	records, err := decodeImage(image)
	if err != nil {
		return nil, fmt.Errorf("read journal %s: %w; find out where the guest runs, then move the file away", path, err)
	}
	return records, nil
}

// Append adds a record; a zero Time becomes now, long texts are cut. If force
// is set the record is durable when Append returns nil. After an error it is
// unknown whether the record is on disk, until a later Append or Sync returns
// nil: then it is not. Records that go back to a lower epoch or to another VM
// are refused with ErrEpoch and ErrIdentity. os.ErrClosed after Close.
func (j *Journal) Append(r Record, force bool) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.checkLocked(r); err != nil {
		return fmt.Errorf("append %s to journal in %s: %w", r.State, j.dir, err)
	}
	if r.Time.IsZero() {
		r.Time = time.Now()
	}
	if err := j.addLocked(r.bounded(), force); err != nil {
		return fmt.Errorf("append %s of epoch %d to journal in %s: %w", r.State, r.Epoch, j.dir, err)
	}
	return nil
}

func (j *Journal) checkLocked(r Record) error {
	if j.closed {
		return os.ErrClosed
	}
	if r.State == StateNone || r.State >= stateCount {
		return ErrUnexpected
	}
	if len(j.records) == 0 {
		return nil
	}
	last := j.records[len(j.records)-1]
	if r.VM != last.VM {
		return fmt.Errorf("%w: %s, not %s", ErrIdentity, last.VM, r.VM)
	}
	if r.Epoch < last.Epoch {
		return fmt.Errorf("%w: %d is below %d", ErrEpoch, r.Epoch, last.Epoch)
	}
	return nil
}

func (j *Journal) addLocked(r Record, force bool) error {
	if j.file == nil || j.used == journalSlots {
		kept := j.records[max(0, len(j.records)-keptRecords):]
		return j.replaceLocked(append(slices.Clone(kept), r))
	}
	if err := j.writeLocked(r, force); err != nil {
		j.dropFileLocked()
		return err
	}
	j.records = append(j.records, r)
	j.used++
	return nil
}

func (j *Journal) writeLocked(r Record, force bool) error {
	var slot [slotSize]byte
	r.encode(slot[:], j.used)
	if _, err := j.file.WriteAt(slot[:], int64(j.used)*slotSize); err != nil {
		return err
	}
	if force {
		return dataSync(j.file)
	}
	return nil
}

// replaceLocked writes a new file that holds exactly records, durable.
func (j *Journal) replaceLocked(records []Record) error {
	j.dropFileLocked()
	f, err := replaceFile(j.dir, newName, journalName, encodeImage(records))
	if err != nil {
		return err
	}
	j.file, j.used, j.records = f, len(records), records
	return nil
}

// dropFileLocked gives the file up. What Close could report is of no use: the
// file was synced, or it is not trusted any more.
func (j *Journal) dropFileLocked() {
	if j.file != nil {
		_ = j.file.Close()
		j.file = nil
	}
}

// Last returns the newest record; ok is false when there is none.
func (j *Journal) Last() (r Record, ok bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.records) == 0 {
		return Record{}, false
	}
	return j.records[len(j.records)-1], true
}

// Records returns the records, oldest first.
func (j *Journal) Records() []Record {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.records)
}

// Sync makes every record durable. os.ErrClosed after Close.
func (j *Journal) Sync() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.syncLocked(); err != nil {
		return fmt.Errorf("sync journal in %s: %w", j.dir, err)
	}
	return nil
}

func (j *Journal) syncLocked() error {
	switch {
	case j.closed:
		return os.ErrClosed
	case j.file == nil && len(j.records) == 0:
		return nil
	case j.file == nil:
		return j.replaceLocked(j.records[max(0, len(j.records)-keptRecords):])
	}
	err := dataSync(j.file)
	if err != nil {
		j.dropFileLocked()
	}
	return err
}

// Close gives the lock back. It does not force unforced records. Idempotent.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return nil
	}
	j.closed = true
	j.dropFileLocked()
	return releaseLock(j.lock)
}
