package main

import (
	"time"

	"github.com/lazymig/lazymig/internal/manpages"
	"github.com/spf13/cobra"
)

// man is for packagers: make man calls it.
func (a *app) man() *cobra.Command {
	var date string
	command := &cobra.Command{
		Use: "man DIR", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			day, err := time.Parse(time.DateOnly, date)
			if err != nil {
				return usage("", "invalid --date %q: use a day such as %s", date, time.DateOnly)
			}
			set := manpages.Set{Version: builtFrom().Version, Date: day, Files: files()}
			if err := set.Write(command.Root(), args[0]); err != nil {
				return failed(exitFailed, err, "")
			}
			return nil
		},
	}
	command.Flags().StringVar(&date, "date", time.Now().UTC().Format(time.DateOnly), "the `DAY` of the pages")
	return command
}

// files are the files of lazymig on a host.
func files() [][2]string {
	return [][2]string{
		{defaultTLSDir, "The identity of this host: ca.crt, domain.key and a pair NAME.crt, NAME.key."},
		{
			"/etc/lazymig/receive/VM.conf",
			"What lazymig-receive@VM.service waits for: LISTEN, OPTIONS and QEMU. The unit describes them: systemctl cat lazymig-receive@VM.",
		},
		{
			defaultStateDir + "/vm/VM",
			"What this host remembers of a VM: the journal of who owns it, logs of engine, keeper and QEMU, and its monitor's socket. " +
				"Keep the journal across restarts and new versions.",
		},
		{defaultCacheDir, "The cache, which can be made again: a directory for each trust domain, with the indexes of images in it."},
	}
}
