package main

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"
)

// Exit codes, the same for all commands as far as they can have them.
const (
	exitDone    = 0
	exitFailed  = 1 // for send and receive: the guest runs at the source
	exitUsage   = 2 // the command line or the configuration; nothing was touched
	exitPending = 3 // the guest runs at the destination, pages are missing
	exitStopped = 4 // the guest is stopped and needs a person
)

// failure ends a command with an exit code. A nil err says that the user has
// been told.
type failure struct {
	code int
	err  error
	hint string
}

func (f *failure) Error() string {
	if f.err == nil {
		return fmt.Sprintf("exit code %d", f.code)
	}
	return f.err.Error()
}

func (f *failure) Unwrap() error { return f.err }

// usage returns the error for a command line or configuration that cannot work.
func usage(hint, format string, args ...any) error {
	return &failure{code: exitUsage, err: fmt.Errorf(format, args...), hint: hint}
}

// failed returns an error with an exit code and, unless empty, a hint.
func failed(code int, err error, hint string) error {
	return &failure{code: code, err: err, hint: hint}
}

// finish tells the user why a command failed and returns its exit code. What
// is not a failure comes from the parser of the command line.
func (a *app) finish(command *cobra.Command, err error) int {
	if err == nil {
		return exitDone
	}
	f, ok := errors.AsType[*failure](err)
	if !ok {
		f = &failure{code: exitUsage, err: err, hint: suggestion(command, err)}
	}
	if f.err == nil {
		return f.code
	}
	hint := f.hint
	if hint == "" {
		hint = hintOf(f.err)
	}
	if hint == "" && f.code == exitUsage {
		hint = "see `" + command.CommandPath() + " --help`"
	}
	if flag := command.Flags().Lookup("log-format"); flag != nil && flag.Value.String() == "json" {
		log := slog.New(slog.NewJSONHandler(a.err, nil))
		log.Error(f.err.Error(), "hint", hint, "exit", f.code)
	} else {
		a.complain(f.err, hint)
	}
	return f.code
}

// complain writes an error and, unless empty, a hint.
func (a *app) complain(err error, hint string) {
	fmt.Fprintln(a.err, "lazymig: error:", err)
	if hint != "" {
		fmt.Fprintln(a.err, "lazymig: hint:", hint)
	}
}

// hintOf returns the hint of the first error in the chain that has one.
func hintOf(err error) string {
	type hinter interface {
		error
		Hint() string
	}
	if h, ok := errors.AsType[hinter](err); ok {
		return h.Hint()
	}
	return ""
}
