package main

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/lazymig/lazymig/quictransport"
	"github.com/spf13/cobra"
)

// defaultValidity is how long a certificate is good for.
const defaultValidity = 365 * 24 * time.Hour

func (a *app) cert() *cobra.Command {
	command := &cobra.Command{
		Use:   "cert",
		Short: "Make the identities by which hosts trust each other",
		Long: `Make the identities by which hosts trust each other.

One CA certifies all hosts. Its directory gets ca.key, which signs and stays
where it is, and what every host needs beside its own pair: ca.crt, and
domain.key, the key of the page digests.`,
		Example: `  lazymig cert ca --tls-dir ./identities
  lazymig cert issue host7 --tls-dir ./identities
  scp ./identities/{ca.crt,domain.key,host7.crt,host7.key} host7:/etc/lazymig/tls/`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error { return command.Help() },
	}
	command.AddCommand(a.certCA(), a.certIssue())
	return command
}

func (a *app) certCA() *cobra.Command {
	var dir string
	command := &cobra.Command{
		Use:     "ca",
		Short:   "Make a CA and the key of the digests",
		Long:    "Make a CA and the key of the digests. Nothing is overwritten.",
		Example: "  lazymig cert ca --tls-dir ./identities",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := quictransport.CreateCA(dir); err != nil {
				return failed(exitFailed, err, "")
			}
			a.listFiles(dir, "ca.crt", "ca.key", "domain.key")
			return nil
		},
	}
	registerTLSDir(command.Flags(), &dir)
	return command
}

func (a *app) certIssue() *cobra.Command {
	var (
		dir      string
		validity time.Duration
	)
	command := &cobra.Command{
		Use:   "issue NAME",
		Short: "Certify a host by its name",
		Long: `Certify a host by its name, where the CA is. The name is what --peer compares.
Take ca.crt, domain.key and the new pair to the host's own directory.
Nothing is overwritten.`,
		Example: "  lazymig cert issue host7 --tls-dir ./identities",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if validity <= 0 {
				return usage("", "invalid --validity %v: use more than 0", validity)
			}
			if err := quictransport.Issue(dir, args[0], validity); err != nil {
				return failed(exitFailed, err, "")
			}
			a.listFiles(dir, args[0]+".crt", args[0]+".key")
			return nil
		},
	}
	registerTLSDir(command.Flags(), &dir)
	command.Flags().DurationVar(&validity, "validity", defaultValidity, "the certificate is good for this `DURATION`")
	return command
}

// listFiles tells which files were made.
func (a *app) listFiles(dir string, names ...string) {
	for _, name := range names {
		fmt.Fprintln(a.out, filepath.Join(dir, name))
	}
}
