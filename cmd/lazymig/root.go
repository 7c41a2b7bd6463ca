package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// app is where a command writes to: data to out, messages to err.
type app struct {
	out, err io.Writer
	terminal bool // err is a terminal
}

// run runs one command line and returns its exit code.
func (a *app) run(args []string) int {
	root := a.root()
	root.SetArgs(args)
	command, err := root.ExecuteC()
	return a.finish(command, err)
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "lazymig",
		Short: "Move a running virtual machine to another host within milliseconds",
		Long: `lazymig moves a running virtual machine to another host by post-copy migration:
the guest resumes at the destination at once, its memory follows.

Run receive at the destination first, then send at the source. send --dry-run
checks both hosts and changes nothing.`,
		Example: `  destination# lazymig receive --listen 0.0.0.0:7000 -- qemu-system-x86_64 …
  source#      lazymig send --qmp /run/web1.qmp --to destination:7000 --dry-run
  source#      lazymig send --qmp /run/web1.qmp --to destination:7000`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetUsageTemplate(strings.ReplaceAll(root.UsageTemplate(), ".FlagUsages", fmt.Sprintf(".FlagUsagesWrapped %d", lineWidth)))
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.DisableSuggestions = true // finish makes them a hint
	root.SuggestionsMinimumDistance = 2
	root.CompletionOptions.DisableDefaultCmd = true // ours has the shells of Debian, and an example
	root.AddCommand(a.receive(), a.send(), a.cert(), a.doctor(), a.status(), a.cancel(), a.serveMemory(), a.serveUffd(), a.cache())
	root.AddCommand(a.demo(), a.bench(), a.version(), a.completion())
	root.AddCommand(a.engine(), a.keeper(), a.microvm(), a.man()) // hidden
	teach(root)
	return root
}

// suggestion returns the command that the user may have meant.
func suggestion(command *cobra.Command, err error) string {
	_, rest, unknown := strings.Cut(err.Error(), "unknown command ")
	if !unknown {
		return ""
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(rest, `"`), `"`)
	if names := command.SuggestionsFor(name); len(names) > 0 {
		return "did you mean `" + command.CommandPath() + " " + names[0] + "`?"
	}
	return ""
}
