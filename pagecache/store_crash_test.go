package pagecache

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// crashDir is what makes this test binary the child of a test: the directory.
const crashDir = "LAZYMIG_TEST_STORE"

func child(t *testing.T, test, dir string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+test+"$", "-test.count=1")
	cmd.Env = append(os.Environ(), crashDir+"="+dir)
	cmd.Stderr = os.Stderr
	return cmd
}

const crashPages = 2000 // several times what fits

// TestCrashChild is not a test: it writes pages until it is killed.
func TestCrashChild(t *testing.T) {
	dir := os.Getenv(crashDir)
	if dir == "" {
		t.Skip("only as a child of TestKill")
	}
	s := openStore(t, Config{Dir: dir, Bytes: MinBytes, Key: Key{4}})
	for p, i := newPages(t, Key{4}), uint64(0); i < crashPages/2; i++ {
		p.put(t, s, i)
	}
	fmt.Println("ready")
	for w := range uint64(2) {
		go func() {
			for p, i := newPages(t, Key{4}), w; ; i += 2 {
				p.put(t, s, i%crashPages)
			}
		}()
	}
	select {}
}

// TestKill kills a process in its writes, again and again on the same files.
func TestKill(t *testing.T) {
	if os.Getenv(crashDir) != "" {
		t.Skip("is the child")
	}
	cfg := Config{Dir: t.TempDir(), Bytes: MinBytes, Key: Key{4}}
	p := newPages(t, cfg.Key)
	hits, damaged := uint64(0), uint64(0)
	for round := range repeats(10, 200) {
		killWriter(t, cfg.Dir, time.Duration(round%20)*400*time.Microsecond)
		s := openStore(t, cfg)
		pages := s.Stats().Pages
		for i := range uint64(crashPages) {
			p.read(t, s, i)
		}
		st := s.Stats()
		// Two writers can have been within a page, and two within a record.
		if st.Hits+4 < s.slots || st.Hits+st.Damaged != pages || st.ReadErrors != 0 {
			t.Errorf("round %d: %d pages, %+v", round, pages, st)
		}
		hits, damaged = hits+st.Hits, damaged+st.Damaged
		closeStore(t, s)
	}
	t.Logf("%d hits, %d torn pages", hits, damaged)
}

// killWriter starts a child and kills it when it has filled the store, and some time more.
func killWriter(t *testing.T, dir string, more time.Duration) {
	t.Helper()
	cmd := child(t, "TestCrashChild", dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Errorf("child says %q, %v", line, err)
	}
	if _, err := Open(Config{Dir: dir, Bytes: MinBytes, Key: Key{5}}); err == nil {
		t.Error("two processes have the directory")
	} else if e, ok := errors.AsType[*LockedError](err); !ok || e.PID != cmd.Process.Pid || e.Hint() == "" ||
		!strings.Contains(e.Error(), strconv.Itoa(cmd.Process.Pid)) {
		t.Errorf("%v", err)
	}
	<-time.After(more)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
}
