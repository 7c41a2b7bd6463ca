package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func (a *app) version() *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Long:    "Print the version of lazymig, the commit that it was built from, and the Go\nthat built it.",
		Example: "  lazymig version --json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			b := builtFrom()
			if asJSON {
				return json.NewEncoder(a.out).Encode(b)
			}
			_, err := fmt.Fprintf(a.out, "lazymig %s (commit %s, %s, %s)\n", b.Version, cmp.Or(b.Commit, "unknown"), b.Go, b.Platform)
			return err
		},
	}
	registerJSON(command.Flags(), &asJSON)
	return command
}

// build says what a program was built from.
type build struct {
	Version  string `json:"version"`
	Commit   string `json:"commit"` // empty if it is not known
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// builtFrom returns what the linker was told, or else what Go has noted.
func builtFrom() build {
	b := build{Version: version, Commit: commit, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	b.Version = cmp.Or(b.Version, info.Main.Version, "unversioned")
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" {
			b.Commit = cmp.Or(b.Commit, setting.Value)
		}
	}
	return b
}
