package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestManPages wants a page for each command that --help shows, and no other,
// that the readers of pages find nothing wrong with.
func TestManPages(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "lazymig", "man", "--date", "2026-01-31", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	a := &app{out: os.Stdout, err: os.Stderr}
	var want []string
	var visit func(*cobra.Command)
	visit = func(command *cobra.Command) {
		if !command.Hidden && command.Name() != "help" {
			want = append(want, strings.ReplaceAll(command.CommandPath(), " ", "-")+".1")
		}
		for _, below := range command.Commands() {
			visit(below)
		}
	}
	visit(a.root())
	slices.Sort(want)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, entry := range entries {
		got = append(got, entry.Name())
	}
	if !slices.Equal(got, want) {
		t.Errorf("pages %v, want %v", got, want)
	}
	send, err := os.ReadFile(filepath.Join(dir, "lazymig-send.1"))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{".TH \"LAZYMIG\\-SEND\" 1 2026-01-31", `\fB\-\-qmp\fR \fISOCKET\fR`, `(default 2s)`, ".SH \"EXAMPLES\""} {
		if !strings.Contains(string(send), text) {
			t.Errorf("lazymig-send.1 lacks %q", text)
		}
	}
	for _, reader := range [][]string{{"mandoc", "-T", "lint"}, {"man", "--warnings", "-l"}} {
		t.Run(reader[0], func(t *testing.T) { lint(t, dir, want, reader) })
	}
}

// lint runs a reader of pages that writes what it finds wrong to its standard
// output (mandoc) or error (man).
func lint(t *testing.T, dir string, pages, reader []string) {
	if _, err := exec.LookPath(reader[0]); err != nil {
		t.Skip(err)
	}
	for _, page := range pages {
		var found strings.Builder
		command := exec.CommandContext(t.Context(), reader[0], append(reader[1:], filepath.Join(dir, page))...)
		command.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "MANROFFSEQ=", "MANWIDTH=80")
		command.Stderr = &found
		if reader[0] == "mandoc" {
			command.Stdout = &found
		}
		if err := command.Run(); err != nil || found.Len() > 0 {
			t.Errorf("%s: %v\n%s", page, err, found.String())
		}
	}
}
