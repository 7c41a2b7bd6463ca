package failover

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lazymig/lazymig"
)

func testRecord(epoch lazymig.Epoch, s State) Record {
	return Record{
		Time: time.Unix(0, 1234567890123456789), VM: testVM, Epoch: epoch, State: s,
		Peer: "10.0.0.2:7777", WasRunning: true, Reason: "for a test",
	}
}

func openJournal(t *testing.T, dir string) *Journal {
	t.Helper()
	j, err := OpenJournal(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	})
	return j
}

func mustAppend(t *testing.T, j *Journal, force bool, records ...Record) {
	t.Helper()
	for _, r := range records {
		if err := j.Append(r, force); err != nil {
			t.Fatal(err)
		}
	}
}

// reads checks what another process would read.
func reads(t *testing.T, dir string, want ...Record) {
	t.Helper()
	got, err := ReadJournal(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("journal reads\n%v, want\n%v", got, want)
	}
}

func TestJournalKeepsRecords(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "vm", "db")
	j := openJournal(t, dir)
	if r, ok := j.Last(); ok {
		t.Fatalf("a new journal has %v", r)
	}
	reads(t, dir)
	a, b, c := testRecord(1, StatePreparing), testRecord(1, StateFrozen), testRecord(1, StateCeded)
	b.Peer, b.Reason, b.WasRunning = "", "", false
	mustAppend(t, j, true, a)
	mustAppend(t, j, false, b)
	mustAppend(t, j, true, c)
	reads(t, dir, a, b, c)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(j.Append(c, true), j.Sync()); !errors.Is(err, os.ErrClosed) {
		t.Errorf("a closed journal: %v", err)
	}
	again := openJournal(t, dir)
	if last, ok := again.Last(); !ok || !reflect.DeepEqual(last, c) || len(again.Records()) != 3 {
		t.Errorf("after reopening: %v", again.Records())
	}
	d := testRecord(1, StateReleased)
	mustAppend(t, again, true, d)
	reads(t, dir, a, b, c, d)
}

func TestJournalBoundsTexts(t *testing.T) {
	dir := t.TempDir()
	j := openJournal(t, dir)
	r := testRecord(1, StatePreparing)
	r.Time = time.Time{}
	r.Peer = strings.Repeat("p", 1000)
	r.Reason = strings.Repeat("x", maxReason-1) + "é" + strings.Repeat("y", 1000)
	mustAppend(t, j, true, r)
	got, err := ReadJournal(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(got[0].Peer) != maxPeer || got[0].Reason != strings.Repeat("x", maxReason-1) {
		t.Errorf("texts of %d and %d bytes", len(got[0].Peer), len(got[0].Reason))
	}
	if time.Since(got[0].Time) > time.Hour {
		t.Errorf("time %v", got[0].Time)
	}
}

func TestJournalRefuses(t *testing.T) {
	j := openJournal(t, t.TempDir())
	mustAppend(t, j, true, testRecord(5, StatePreparing))
	other := testRecord(6, StatePreparing)
	other.VM = lazymig.VMID{9}
	for _, c := range []struct {
		record Record
		want   error
	}{
		{testRecord(4, StateReserved), ErrEpoch},
		{other, ErrIdentity},
		{testRecord(6, StateNone), ErrUnexpected},
		{testRecord(6, stateCount), ErrUnexpected},
	} {
		if err := j.Append(c.record, true); !errors.Is(err, c.want) {
			t.Errorf("%v: %v", c.record, err)
		}
	}
	if len(j.Records()) != 1 {
		t.Error("a refused record is in the journal")
	}
}

// TestJournalIsBounded: after any number of migrations the file has its size,
// the last records are there, and nothing else is in the directory.
func TestJournalIsBounded(t *testing.T) {
	dir := t.TempDir()
	j := openJournal(t, dir)
	for i := range 3 * journalSlots {
		r := testRecord(lazymig.Epoch(i+1), StateRunning)
		mustAppend(t, j, i%8 == 0, r)
		if last, _ := j.Last(); last.Epoch != r.Epoch {
			t.Fatalf("last is %v", last)
		}
		records, err := ReadJournal(dir)
		if err != nil || records[len(records)-1].Epoch != r.Epoch {
			t.Fatalf("after %d: %v", i, err)
		}
		if len(records) < min(i+1, keptRecords) || len(records) > journalSlots {
			t.Fatalf("after %d: %d records", i, len(records))
		}
	}
	info, err := os.Stat(filepath.Join(dir, journalName))
	if err != nil || info.Size() != journalSlots*slotSize {
		t.Errorf("%v %v", info, err)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 2 {
		t.Errorf("files: %v %v", files, err)
	}
}

// TestTornTail cuts the last record at every byte, and spoils each byte of it.
func TestTornTail(t *testing.T) {
	dir := t.TempDir()
	j := openJournal(t, dir)
	a, b, c := testRecord(1, StatePreparing), testRecord(1, StateFrozen), testRecord(1, StateCeded)
	mustAppend(t, j, true, a, b, c)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, journalName)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	check := func(image []byte, name string, i int) {
		t.Helper()
		records, err := decodeImage(image)
		if err != nil || len(records) != 2 || records[1].State != StateFrozen {
			t.Fatalf("%s %d: %v %v", name, i, records, err)
		}
	}
	for i := range slotSize {
		check(whole[:2*slotSize+i], "cut at", i)
		spoiled := bytes.Clone(whole)
		spoiled[2*slotSize+i] ^= 0x10
		check(spoiled, "spoiled at", i)
		torn := bytes.Clone(whole)
		clear(torn[2*slotSize+i : 3*slotSize])
		if i < slotTexts+len(c.Peer)+len(c.Reason) { // the rest is zero anyway
			check(torn, "torn at", i)
		}
	}
	if err := os.WriteFile(path, whole[:2*slotSize+100], 0o600); err != nil {
		t.Fatal(err)
	}
	again := openJournal(t, dir)
	d := testRecord(1, StateRunning)
	mustAppend(t, again, false, d)
	reads(t, dir, a, b, d)
}

// TestLostMiddle: an unforced record that never came to the disk is skipped.
func TestLostMiddle(t *testing.T) {
	a, b, c := testRecord(1, StateArmed), testRecord(1, StateLoaded), testRecord(1, StateOwner)
	image := encodeImage([]Record{a, b, c})
	clear(image[slotSize : 2*slotSize])
	records, err := decodeImage(image)
	if err != nil || !reflect.DeepEqual(records, []Record{a, c}) {
		t.Errorf("%v %v", records, err)
	}
}

// TestCorrupt: what no crash leaves behind is not read as an empty journal.
func TestCorrupt(t *testing.T) {
	future := encodeImage([]Record{testRecord(1, StateRunning), testRecord(1, stateCount)})
	moved := encodeImage([]Record{testRecord(1, StateRunning)})
	copy(moved[slotSize:], moved[:slotSize])
	for name, image := range map[string][]byte{
		"empty file":     {},
		"zeros":          make([]byte, journalSlots*slotSize),
		"text":           []byte(strings.Repeat("hello ", 1000)),
		"too long":       append(encodeImage([]Record{testRecord(1, StateRunning)}), 0),
		"unknown state":  future,
		"record moved":   moved,
		"half of record": encodeImage([]Record{testRecord(1, StateRunning)})[:300],
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, journalName), image, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenJournal(dir); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
		if j, err := OpenJournal(dir); errors.Is(err, ErrBusy) {
			t.Errorf("%s: the lock is still held: %v %v", name, j, err)
		}
	}
}

// TestFailedAppend: the file breaks under the journal. The record is in doubt;
// the next one goes to a new file, without it.
func TestFailedAppend(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "vm")
	j := openJournal(t, dir)
	a := testRecord(1, StatePreparing)
	mustAppend(t, j, true, a)
	if err := j.file.Close(); err != nil {
		t.Fatal(err)
	}
	if err := j.Append(testRecord(1, StateCeded), true); !errors.Is(err, os.ErrClosed) {
		t.Fatalf("append to a broken file: %v", err)
	}
	if last, _ := j.Last(); last.State != StatePreparing {
		t.Errorf("the failed record counts: %v", last)
	}
	away := dir + ".away"
	if err := os.Rename(dir, away); err != nil {
		t.Fatal(err)
	}
	if err := j.Append(testRecord(1, StateRunning), false); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("append without a directory: %v", err)
	}
	if err := j.Sync(); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("sync without a directory: %v", err)
	}
	if err := os.Rename(away, dir); err != nil {
		t.Fatal(err)
	}
	b := testRecord(1, StateRunning)
	mustAppend(t, j, false, b)
	reads(t, dir, a, b)
}

// TestFailedSync: a sync that fails is not repeated on the same file.
func TestFailedSync(t *testing.T) {
	dir := t.TempDir()
	j := openJournal(t, dir)
	if err := j.Sync(); err != nil {
		t.Fatalf("sync of nothing: %v", err)
	}
	a, b := testRecord(1, StatePreparing), testRecord(1, StateFrozen)
	mustAppend(t, j, false, a, b)
	if err := j.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := j.file.Close(); err != nil {
		t.Fatal(err)
	}
	if err := j.Sync(); err == nil {
		t.Fatal("sync of a closed file succeeds")
	}
	if j.file != nil {
		t.Error("the file is still trusted")
	}
	if err := j.Sync(); err != nil {
		t.Fatal(err)
	}
	reads(t, dir, a, b)
}

// TestFullDisk: appending needs no space once the file is there, and a journal
// can be opened on a full disk: a keeper must be able to act there.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount a small tmpfs")
	}
	dir := t.TempDir()
	mount := exec.Command("mount", "-t", "tmpfs", "-o", "size=256k", "failover-test", dir)
	if out, err := mount.CombinedOutput(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("cannot mount a tmpfs: %v: %s", err, out)
		}
		t.Skipf("cannot mount a tmpfs here: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	j, err := OpenJournal(dir)
	if err != nil {
		t.Fatal(err)
	}
	a := testRecord(1, StatePreparing)
	mustAppend(t, j, true, a)
	if err := os.WriteFile(filepath.Join(dir, "filler"), make([]byte, 1<<20), 0o600); err == nil {
		t.Fatal("the disk is not full")
	}
	b := testRecord(1, StateFrozen)
	mustAppend(t, j, true, b)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := OpenJournal(dir)
	if err != nil {
		t.Fatalf("open on a full disk: %v", err)
	}
	defer again.Close()
	if last, _ := again.Last(); last.State != StateFrozen {
		t.Errorf("last is %v", last)
	}
	if err := again.Append(testRecord(1, StateRunning), false); err == nil {
		t.Error("a new file fits on a full disk")
	}
	reads(t, dir, a, b)
}

const holdVariable = "LAZYMIG_FAILOVER_HOLD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(holdVariable); dir != "" {
		os.Exit(holdJournal(dir))
	}
	os.Exit(m.Run())
}

// holdJournal is the other process of TestJournalBusy: it holds the journal
// until it is killed.
func holdJournal(dir string) int {
	j, err := OpenJournal(dir)
	if err == nil {
		err = j.Append(testRecord(1, StatePreparing), true)
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("holding")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	return 0
}

// TestJournalBusy: another process holds the journal; readers do not mind; its
// death, by SIGKILL, frees it for one that waits.
func TestJournalBusy(t *testing.T) {
	dir := t.TempDir()
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), holdVariable+"="+dir)
	if _, err := child.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "holding\n" {
		t.Fatalf("child: %q %v", line, err)
	}
	_, err = OpenJournal(dir)
	if !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), "process "+strconv.Itoa(child.Process.Pid)) {
		t.Errorf("open a held journal: %v", err)
	}
	reads(t, dir, testRecord(1, StatePreparing))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := AwaitJournal(ended, dir); !errors.Is(err, ErrBusy) || !errors.Is(err, context.Canceled) {
		t.Errorf("await without patience: %v", err)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	patience, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	j, err := AwaitJournal(patience, dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(j.Close(), j.Close()); err != nil {
		t.Error(err)
	}
	if err := child.Wait(); err == nil {
		t.Error("the child was not killed")
	}
}

func TestOpenJournalErrors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "below")} {
		if _, err := OpenJournal(dir); err == nil {
			t.Errorf("%s became a directory", dir)
		}
	}
}

// BenchmarkForcedAppend is what CEDED and OWNER add to the blackout.
func BenchmarkForcedAppend(b *testing.B) {
	j, err := OpenJournal(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer j.Close()
	for b.Loop() {
		if err := j.Append(testRecord(1, StateCeded), true); err != nil {
			b.Fatal(err)
		}
	}
}

// FuzzJournal: whatever is in the file, reading it neither fails badly nor
// invents records, and what was read is what a new file holds.
func FuzzJournal(f *testing.F) {
	image := encodeImage([]Record{testRecord(1, StatePreparing), testRecord(1, StateCeded)})
	f.Add(image[:2*slotSize])
	f.Add(image[:slotSize+77])
	f.Add([]byte{})
	f.Add(make([]byte, slotSize))
	f.Fuzz(func(t *testing.T, image []byte) {
		records, err := decodeImage(image)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) || records != nil {
				t.Fatalf("%v %v", records, err)
			}
			return
		}
		again, err := decodeImage(encodeImage(records))
		if err != nil || !reflect.DeepEqual(records, again) {
			t.Fatalf("%v, then %v %v", records, again, err)
		}
	})
}

// FuzzSlot gets behind the checksum.
func FuzzSlot(f *testing.F) {
	slot := make([]byte, slotSize)
	testRecord(3, StateOwner).encode(slot, 0)
	f.Add(slot)
	f.Fuzz(func(t *testing.T, data []byte) {
		slot := make([]byte, slotSize)
		copy(slot, data)
		seal(slot)
		r, ok, err := decodeSlot(slot, 0)
		if err != nil {
			return
		}
		if !ok {
			t.Fatal("a sealed slot does not check")
		}
		again := make([]byte, slotSize)
		r.encode(again, 0)
		if got, _, err := decodeSlot(again, 0); err != nil || !reflect.DeepEqual(got, r) {
			t.Fatalf("%v, then %v %v", r, got, err)
		}
	})
}
