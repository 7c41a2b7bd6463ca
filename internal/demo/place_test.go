package demo

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// place returns a workplace, and the folder that plays /dev/shm.
func place(t *testing.T) (w *workplace, shm string) {
	t.Helper()
	t.Setenv("TMPDIR", "/tmp") // sockets need a short path
	shm = t.TempDir()
	w, err := newWorkplace(shm)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.remove(); err != nil {
			t.Error(err)
		}
	})
	return w, shm
}

func (w *workplace) exists() bool {
	_, err := os.Stat(w.dir)
	_, err2 := os.Stat(w.memory)
	return err == nil || err2 == nil
}

// sleeper starts a process of a workplace that does not end by itself, with a
// child of its own.
func sleeper(t *testing.T, w *workplace) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sh", "-c", "sleep 3600 & wait")
	cmd.Env = w.environment()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for len(marked(w.name)) < 2 {
		<-time.After(time.Millisecond)
	}
	return cmd
}

func TestPlace(t *testing.T) {
	w, _ := place(t)
	for _, dir := range []string{w.dir, w.memory} {
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", dir, info, err)
		}
	}
	if err := w.identify(); err != nil {
		t.Fatal(err)
	}
	cmd := sleeper(t, w)
	if err := w.remove(); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err == nil || len(marked(w.name)) > 0 {
		t.Errorf("processes %v are left, the first ended with %v", marked(w.name), err)
	}
	if w.exists() {
		t.Error("folders are left")
	}
	if err := w.remove(); err != nil {
		t.Errorf("remove it again: %v", err)
	}
}

// TestSweep leaves what belongs to a process that lives, and takes away what a
// killed one has left, also its processes.
func TestSweep(t *testing.T) {
	w, shm := place(t)
	old := time.Now().Add(-time.Hour)
	age := func() {
		if err := errors.Join(os.Chtimes(filepath.Join(w.memory, lockFile), old, old), os.Chtimes(w.memory, old, old)); err != nil {
			t.Fatal(err)
		}
	}
	sweepOnce := func() {
		if err := sweep(shm); err != nil {
			t.Fatal(err)
		}
	}
	age()
	if sweepOnce(); !w.exists() {
		t.Fatal("a living one's workplace was swept away")
	}
	if err := w.lock.Close(); err != nil { // as its death does
		t.Fatal(err)
	}
	w.lock = nil
	old = time.Now()
	age()
	if sweepOnce(); !w.exists() {
		t.Fatal("one that may still be made was swept away")
	}
	cmd := sleeper(t, w)
	old = old.Add(-time.Hour)
	age()
	if sweepOnce(); w.exists() {
		t.Error("a dead one's workplace is left")
	}
	if err := cmd.Wait(); err == nil {
		t.Error("its process was not ended")
	}
}

// TestSweepStranger leaves what is no workplace of this user.
func TestSweepStranger(t *testing.T) {
	shm := t.TempDir()
	file := filepath.Join(shm, placePrefix+"file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(shm, placePrefix+"link")
	if err := os.Symlink(t.TempDir(), link); err != nil {
		t.Fatal(err)
	}
	if err := sweep(shm); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, link} {
		if _, err := os.Lstat(path); err != nil {
			t.Errorf("%s is gone: %v", path, err)
		}
	}
}

func TestLongPath(t *testing.T) {
	long := filepath.Join(t.TempDir(), "a-long-name-that-leaves-no-room-for-the-path-of-a-socket")
	t.Setenv("TMPDIR", long)
	shm := t.TempDir()
	_, err := newWorkplace(shm)
	if e, ok := errors.AsType[*Error](err); !ok || e.Hint() == "" {
		t.Errorf("%v, want one with a hint", err)
	}
	t.Setenv("TMPDIR", "/nowhere")
	if _, err := newWorkplace(shm); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v, want one of a folder that is not there", err)
	}
	if left, _ := os.ReadDir(shm); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
}

func TestKillMarked(t *testing.T) {
	w := &workplace{name: placePrefix + t.Name()}
	cmd := sleeper(t, w)
	if err := killMarked(w.name); err != nil {
		t.Error(err)
	}
	err := cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || !exit.Sys().(interface{ Signaled() bool }).Signaled() {
		t.Errorf("it ended with %v", err)
	}
	if err := unix.Kill(cmd.Process.Pid, 0); !errors.Is(err, unix.ESRCH) {
		t.Errorf("it is there: %v", err)
	}
}
