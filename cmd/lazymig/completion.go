package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/lazymig/lazymig/internal/agent"
	"github.com/lazymig/lazymig/internal/migrate"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func (a *app) completion() *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "Print the completion of commands for a shell",
		Long: `Print the completion of commands, flags and names of VMs for a shell.
make install and the Debian package put it where the shells look for it.`,
		Example: `  lazymig completion bash > /etc/bash_completion.d/lazymig
  lazymig completion zsh > "${fpath[1]}/_lazymig"
  lazymig completion fish > ~/.config/fish/completions/lazymig.fish`,
		Args:                  cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs:             []string{"bash", "zsh", "fish"},
		DisableFlagsInUseLine: true,
		RunE: func(command *cobra.Command, args []string) error {
			switch args[0] {
			case "zsh":
				return command.Root().GenZshCompletion(a.out)
			case "fish":
				return command.Root().GenFishCompletion(a.out, true)
			default:
				return command.Root().GenBashCompletionV2(a.out, true)
			}
		},
	}
}

// teach tells each command below how its flags and arguments are completed.
// What is not named here is completed with file names in a flag, and with
// nothing as an argument.
func teach(command *cobra.Command) {
	if command.ValidArgsFunction == nil && len(command.ValidArgs) == 0 {
		command.ValidArgsFunction = cobra.NoFileCompletions
	}
	command.LocalNonPersistentFlags().VisitAll(func(flag *pflag.Flag) {
		if err := teachFlag(command, flag); err != nil {
			panic(err) // the flag has just been seen, and is taught once
		}
	})
	for _, below := range command.Commands() {
		teach(below)
	}
}

func teachFlag(command *cobra.Command, flag *pflag.Flag) error {
	name := flag.Name
	if _, ok := flag.Value.(*size); ok {
		return command.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions)
	}
	switch name {
	case "state-dir", "tls-dir", "ram-dir", "cache-dir":
		return command.MarkFlagDirname(name)
	case "log-format":
		return command.RegisterFlagCompletionFunc(name, cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
	case "format":
		return command.RegisterFlagCompletionFunc(name, cobra.FixedCompletions([]string{"auto", "raw", "qcow2"}, cobra.ShellCompDirectiveNoFileComp))
	case "as":
		return command.RegisterFlagCompletionFunc(name, cobra.FixedCompletions([]string{"source", "destination", "both"}, cobra.ShellCompDirectiveNoFileComp))
	case "vmm":
		return command.RegisterFlagCompletionFunc(name, cobra.FixedCompletions([]string{"auto", "microvm", "qemu"}, cobra.ShellCompDirectiveNoFileComp))
	case "accel":
		return command.RegisterFlagCompletionFunc(name, cobra.FixedCompletions([]string{"tcg", "kvm"}, cobra.ShellCompDirectiveNoFileComp))
	case "peer-ram":
		return command.RegisterFlagCompletionFunc(name, cobra.FixedCompletions([]string{"shared", "plain"}, cobra.ShellCompDirectiveNoFileComp))
	case "listen", "to", "from", "metrics", "peer", "vm", "ready-timeout", "validity", "bandwidth", "rtt", "break-link", "hosts":
		return command.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions)
	}
	return nil
}

// completeVM completes the name of a VM that has left something in the state
// directory; with busy, of one that an engine works on.
func completeVM(busy bool) cobra.CompletionFunc {
	return func(command *cobra.Command, args []string, begin string) ([]string, cobra.ShellCompDirective) {
		stateDir, err := command.Flags().GetString("state-dir")
		if err != nil || len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		entries, _ := os.ReadDir(filepath.Join(stateDir, "vm")) // without a directory, no names
		var names []string
		for _, entry := range entries {
			_, err := migrate.VMDir(stateDir, entry.Name())
			if err == nil && entry.IsDir() && strings.HasPrefix(entry.Name(), begin) && (!busy || isBusy(stateDir, entry.Name())) {
				names = append(names, entry.Name())
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// isBusy reports whether an engine works on a VM.
func isBusy(stateDir, vm string) bool {
	session, err := agent.Dial(stateDir, vm)
	if err != nil {
		return !errors.Is(err, agent.ErrNoEngine)
	}
	_ = session.Close() // nothing was asked
	return true
}

// completeVMM completes the program behind --; what follows it are files as
// often as anything.
func completeVMM(_ *cobra.Command, args []string, begin string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 || strings.Contains(begin, "/") {
		return nil, cobra.ShellCompDirectiveDefault
	}
	var names []string
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		found, _ := filepath.Glob(filepath.Join(dir, "qemu-system-*")) // the pattern is well formed
		for _, path := range found {
			if name := filepath.Base(path); strings.HasPrefix(name, begin) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names) // /bin is often /usr/bin
	return slices.Compact(names), cobra.ShellCompDirectiveDefault
}
