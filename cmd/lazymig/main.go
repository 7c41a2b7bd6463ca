package main

import (
	"os"

	"golang.org/x/term"
)

// version and commit are set by the linker.
var version, commit string

func main() {
	os.Exit(run(os.Args[1:]))
}

// run runs one command line on the standard streams and returns its exit code.
func run(args []string) int {
	a := &app{out: os.Stdout, err: os.Stderr, terminal: term.IsTerminal(int(os.Stderr.Fd()))}
	return a.run(args)
}
