package install

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// makeTimeout bounds a make that may have to build the program and the tools.
const makeTimeout = 9 * time.Minute

// runMake calls make at the root of the repository and puts what it makes
// into out.
func runMake(t *testing.T, out string, args ...string) {
	t.Helper()
	need(t, "make")
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), makeTimeout)
	defer cancel()
	command := exec.CommandContext(ctx, "make", append([]string{"-C", root, "OUT=" + out, "VERSION=1.2.3", "DAY=2026-01-31"}, args...)...)
	command.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { // of the make that runs this test
		return strings.HasPrefix(v, "MAKE") || strings.HasPrefix(v, "MFLAGS=")
	})
	if said, err := command.CombinedOutput(); err != nil {
		t.Fatalf("make %v: %v\n%s", args, err, said)
	}
}

// need skips the test without a program; with CI=true that is a failure.
func need(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
}

// run runs a command that must work and returns what it says.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), name, args...)
	command.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "MANWIDTH=80")
	said, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, said)
	}
	return string(said)
}

// files lists the files below dir by their paths there.
func files(t *testing.T, dir string) (list []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			list = append(list, strings.TrimPrefix(path, dir))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// parts are what lazymig puts below its prefix, beside the manual pages.
func parts(zsh string) []string {
	return []string{
		"/bin/lazymig",
		"/lib/systemd/system/lazymig-receive@.service",
		"/share/bash-completion/completions/lazymig",
		"/share/fish/vendor_completions.d/lazymig.fish",
		"/share/zsh/" + zsh + "/_lazymig",
	}
}

func TestInstall(t *testing.T) {
	out, root := t.TempDir(), t.TempDir()
	runMake(t, out, "install", "PREFIX=/opt/lazymig", "DESTDIR="+root)
	prefix := filepath.Join(root, "opt/lazymig")
	var pages, rest []string
	for _, name := range files(t, prefix) {
		if strings.HasPrefix(name, "/share/man/man1/lazymig") {
			pages = append(pages, name)
		} else {
			rest = append(rest, name)
		}
	}
	if want := parts("site-functions"); !slices.Equal(rest, want) || len(pages) < 10 {
		t.Errorf("installed %v and %d pages, want %v", rest, len(pages), want)
	}
	if said := run(t, filepath.Join(prefix, "bin/lazymig"), "version"); !strings.HasPrefix(said, "lazymig 1.2.3 (") {
		t.Errorf("version says %q", said)
	}
	unit, err := os.ReadFile(filepath.Join(prefix, "lib/systemd/system/lazymig-receive@.service"))
	if err != nil || !bytes.Contains(unit, []byte("\nExecStart=/opt/lazymig/bin/lazymig receive ")) {
		t.Errorf("%v, the unit starts something else:\n%s", err, unit)
	}
	other := filepath.Join(prefix, "share/man/man1/other.1")
	if err := os.WriteFile(other, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	runMake(t, out, "uninstall", "PREFIX=/opt/lazymig", "DESTDIR="+root)
	if left := files(t, root); !slices.Equal(left, []string{"/opt/lazymig/share/man/man1/other.1"}) {
		t.Errorf("uninstall left %v", left)
	}
}

// TestUnit has systemd read the unit, without starting it.
func TestUnit(t *testing.T) {
	need(t, "systemd-analyze")
	text, err := os.ReadFile("lazymig-receive@.service")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"KillMode=process", "OOMPolicy=continue"} { // or the guest dies with lazymig
		if !strings.Contains(string(text), "\n"+line+"\n") {
			t.Errorf("the unit lacks %s", line)
		}
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "lazymig")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o700); err != nil { // of an owner: systemd looks whether it could run
		t.Fatal(err)
	}
	unit := filepath.Join(dir, "lazymig-receive@.service")
	verify := func(text string) string {
		if err := os.WriteFile(unit, []byte(strings.ReplaceAll(text, "@BIN@", dir)), 0o600); err != nil {
			t.Fatal(err)
		}
		return run(t, "systemd-analyze", "verify", "--man=no", strings.Replace(unit, "@.", "@web1.", 1))
	}
	if said := verify(string(text)); said != "" {
		t.Errorf("systemd finds in the unit:\n%s", said)
	}
	if said := verify(strings.Replace(string(text), "KillMode=process", "KillMode=nonsense", 1)); said == "" {
		t.Error("systemd finds nothing in a wrong unit: this test proves nothing")
	}
}
