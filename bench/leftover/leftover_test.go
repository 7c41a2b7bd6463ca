package leftover

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// dead returns the id of a process that has ended.
func dead(t *testing.T) int {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid
}

func TestNames(t *testing.T) {
	one, two := Name("ram"), Name("ram")
	if one == two || !mine("/dev/shm/"+one+"-0") || mine("/dev/shm/ram") {
		t.Errorf("names %q and %q", one, two)
	}
	if orphaned(one) {
		t.Errorf("%q is taken for an orphan", one)
	}
	if gone := prefix + strconv.Itoa(dead(t)) + "-1-ram"; !orphaned("x/" + gone) {
		t.Errorf("%q is not taken for an orphan", gone)
	}
}

func TestSweep(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("skipped: sweeping namespaces needs root")
	}
	t.Setenv("TMPDIR", t.TempDir())
	orphan := prefix + strconv.Itoa(dead(t)) + "-1-"
	before := Take()
	mine := filepath.Join("/dev/shm", Name("file"))
	paths := []string{filepath.Join("/dev/shm", orphan+"file"), filepath.Join(os.TempDir(), orphan+"dir"), mine}
	for _, p := range paths {
		if err := os.Mkdir(p, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = os.Remove(mine) })
	process := exec.CommandContext(t.Context(), "sh", "-c", "echo; read x; : "+orphan+"process")
	stdin, err := process.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	stdout, err := process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	// Start returns while the kernel has not set the command line yet.
	if _, err := stdout.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := Sweep(t.Context()); err != nil {
		t.Error(err)
	}
	if err := process.Wait(); err == nil || process.ProcessState.Sys().(interface{ Signal() unix.Signal }).Signal() != unix.SIGKILL {
		t.Errorf("the orphaned process ended with %v", err)
	}
	for i, p := range paths {
		if _, err := os.Stat(p); (err == nil) != (i == 2) {
			t.Errorf("%s after the sweep: %v", p, err)
		}
	}
	if left := before.Since(); !slices.Equal(left, []string{"file " + mine}) {
		t.Errorf("left: %q", left)
	}
	if left := before.Since(orphan); len(left) != 1 {
		t.Errorf("left: %q", left)
	}
}

// TestSnapshotWords finds what others created for us.
func TestSnapshotWords(t *testing.T) {
	before := Take()
	f, err := os.CreateTemp("/dev/shm", "leftover-test-*") // it must be in /dev/shm
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(f.Name()); _ = f.Close() })
	word := strings.TrimPrefix(filepath.Base(f.Name()), "leftover-test-")
	if left := before.Since(); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
	if left := before.Since(word); len(left) != 1 {
		t.Errorf("left with %q: %q", word, left)
	}
}
