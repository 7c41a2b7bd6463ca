package guest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/lazymig/lazymig"
)

// TestArchive has busybox unpack what the writer packs.
func TestArchive(t *testing.T) {
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Skip("skipped: it needs busybox")
	}
	var archive bytes.Buffer
	c := &cpioWriter{w: &archive}
	c.add("folder", modeDirectory, 0, 0, nil)
	for name, content := range map[string]string{"folder/one": "1", "folder/four": "1234", "folder/odd-name": "12345", "empty": ""} {
		c.add(name, modeFile, 0, 0, []byte(content))
	}
	if err := c.close(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), busybox, "cpio", "-i")
	cmd.Dir, cmd.Stdin = t.TempDir(), &archive
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for name, want := range map[string]string{"folder/one": "1", "folder/four": "1234", "folder/odd-name": "12345", "empty": ""} {
		got, err := os.ReadFile(filepath.Join(cmd.Dir, name))
		if err != nil || string(got) != want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, want)
		}
	}
}

type fullDisk struct{ room int }

func (f *fullDisk) Write(b []byte) (int, error) {
	if f.room -= len(b); f.room < 0 {
		return 0, io.ErrShortWrite
	}
	return len(b), nil
}

func TestArchiveKeepsTheFirstError(t *testing.T) {
	c := &cpioWriter{w: &fullDisk{room: 200}}
	c.add("file", modeFile, 0, 0, make([]byte, 300))
	if err := c.close(); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("error %v, want %v", err, io.ErrShortWrite)
	}
}

func TestCommandLine(t *testing.T) {
	line := Params{MemoryMiB: 600, HotMiB: 32, Sequential: true, Pattern: PatternRandom, Rate: 7, Address: "10.0.0.1"}.CommandLine()
	for _, want := range []string{"console=ttyS0 ", " lm.mem=600", " lm.hot=32", " lm.order=sequential", " lm.pattern=random", " lm.rate=7", " lm.ip=10.0.0.1"} {
		if !strings.Contains(line, want) {
			t.Errorf("%q is not in %q", want, line)
		}
	}
	if strings.Contains(line, "lm.beats") || len(line) > 2047 {
		t.Errorf("command line of %d bytes: %q", len(line), line)
	}
}

func TestFindPage(t *testing.T) {
	for _, pattern := range []Pattern{PatternMixed, PatternRandom} {
		for _, page := range []uint64{2, 3} {
			path := filepath.Join(t.TempDir(), "ram")
			const offset = 77 * lazymig.PageSize
			content := make([]byte, 100*lazymig.PageSize)
			for w := range wordsPerPage {
				binary.LittleEndian.PutUint64(content[offset+8*w:], baseWord(pattern, page, w))
			}
			for w := range 200 { // rewritten by the guest
				content[offset+8*(2*w+1)]++
			}
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			if got, err := FindPage(path, pattern, page); got != offset || err != nil {
				t.Errorf("page %d of %s: at %d, %v; want %d", page, pattern, got, err, offset)
			}
			if _, err := FindPage(path, pattern, page+2); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("page %d of %s: %v", page+2, pattern, err)
			}
		}
	}
}

// TestLock has many builders take the lock in turn.
func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	var inside atomic.Int32
	var builders sync.WaitGroup
	for range 4 {
		builders.Go(func() {
			unlock, err := lock(t.Context(), path)
			if err != nil {
				t.Error(err)
				return
			}
			if n := inside.Add(1); n != 1 {
				t.Errorf("%d builders have the lock", n)
			}
			inside.Add(-1)
			unlock()
		})
	}
	builders.Wait()
}
