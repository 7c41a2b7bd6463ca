package main

import (
	"encoding/json"
	"path/filepath"

	"github.com/lazymig/lazymig/internal/doctor"
	"github.com/spf13/cobra"
)

const (
	defaultRAMDir = "/dev/shm"
	defaultQEMU   = "qemu-system-x86_64"
)

// Exit codes of doctor.
const (
	exitReady   = 0
	exitLimited = 1
	exitUnable  = 2
)

// doctorFlags are the flags of doctor.
type doctorFlags struct {
	side     string
	stateDir string
	tlsDir   string
	insecure bool
	listen   string
	memory   size
	ramDir   string
	qemu     string
	qmp      string
	json     bool
}

func (a *app) doctor() *cobra.Command {
	var f doctorFlags
	command := &cobra.Command{
		Use:   "doctor [--qmp SOCKET]",
		Short: "Show what this host can do, and what to change",
		Long: `Show what this host can do as source and as destination of a migration, and for
each thing that is missing the command that mends it. Nothing is changed. With
--qmp also a running guest is examined, without disturbing it, as the source
that this host is then.

Exit codes: 0 ready; 1 limited; 2 not able, or a wrong command line. What could
not be found out counts as a limit.`,
		Example: `  lazymig doctor
  lazymig doctor --as destination --listen 0.0.0.0:7000 --memory 8GiB
  lazymig doctor --qmp /run/web1.qmp`,
		Args:                  cobra.NoArgs,
		DisableFlagsInUseLine: true,
		RunE: func(command *cobra.Command, _ []string) error {
			c, err := f.config(command.Flags().Changed("as"))
			if err != nil {
				return err
			}
			return a.examine(c, doctor.Run(command.Context(), c), f.json)
		},
	}
	set := command.Flags()
	set.StringVar(&f.side, "as", "both", "examine this host as `SIDE`: source, destination or both (with --qmp: source)")
	set.StringVar(&f.qmp, "qmp", "", "examine the guest behind this QMP `SOCKET`, which nobody else uses")
	set.StringVar(&f.listen, "listen", "", "try to listen at `HOST:PORT`, as receive would")
	set.Var(&f.memory, "memory", "look for room for a guest of this `SIZE`, such as 8GiB")
	set.StringVar(&f.ramDir, "ram-dir", defaultRAMDir, "RAM files of guests are made in `DIR`")
	set.StringVar(&f.qemu, "qemu", defaultQEMU, "the `PROGRAM` that receive would start")
	registerStateDir(set, &f.stateDir)
	registerTLSDir(set, &f.tlsDir)
	set.BoolVar(&f.insecure, "insecure-loopback", false, "no identities; only between addresses of this machine")
	registerJSON(set, &f.json)
	return command
}

// config checks the flags.
func (f *doctorFlags) config(sideGiven bool) (doctor.Config, error) {
	c := doctor.Config{
		Role: doctor.Role(f.side), TLSDir: f.tlsDir, Insecure: f.insecure, Listen: f.listen,
		Memory: uint64(f.memory), QEMU: f.qemu, QMP: f.qmp,
	}
	if f.qmp != "" && !sideGiven {
		c.Role = doctor.Source
	}
	switch {
	case c.Role != doctor.Source && c.Role != doctor.Destination && c.Role != doctor.Both:
		return c, usage("", "invalid --as %q: use source, destination or both", f.side)
	case f.qmp != "" && c.Role == doctor.Destination:
		return c, usage("leave out --as", "--qmp examines a guest that runs here: this host is its source")
	case f.listen != "" && c.Role == doctor.Source:
		return c, usage("leave out --listen, or use --as both", "--listen is for a destination")
	case f.qemu == "":
		return c, usage("", "invalid --qemu: give a program")
	}
	if f.listen != "" {
		side := sideFlags{insecure: f.insecure}
		if err := side.checkAddress("listen", f.listen); err != nil {
			return c, err
		}
	}
	if f.qmp != "" {
		if err := checkMonitor(f.qmp); err != nil {
			return c, err
		}
	}
	for _, dir := range []struct {
		flag string
		to   *string
	}{{f.stateDir, &c.StateDir}, {f.tlsDir, &c.TLSDir}, {f.ramDir, &c.RAMDir}} {
		full, err := filepath.Abs(dir.flag)
		if err != nil {
			return c, failed(exitUsage, err, "")
		}
		*dir.to = full
	}
	return c, nil
}

// examine prints the results and returns the exit code as an error that the
// user has been told.
func (a *app) examine(c doctor.Config, results []doctor.Result, asJSON bool) error {
	summary := doctor.Summarize(c, results)
	code := exitReady
	switch summary.Worst() {
	case doctor.SomeLimit:
		code = exitLimited
	case doctor.Unable:
		code = exitUnable
	case doctor.Ready, doctor.NotAsked:
	}
	if asJSON {
		if err := a.encodeResults(results, summary, code); err != nil {
			return failed(exitUnable, err, "")
		}
	} else {
		newSheet(a.out).write(results, summary)
	}
	if code == exitReady {
		return nil
	}
	return &failure{code: code}
}

func (a *app) encodeResults(results []doctor.Result, summary doctor.Summary, code int) error {
	encoder := json.NewEncoder(a.out)
	encoder.SetEscapeHTML(false)
	for _, r := range results {
		if err := encoder.Encode(struct {
			Event string `json:"event"`
			doctor.Result
		}{"check", r}); err != nil {
			return err
		}
	}
	return encoder.Encode(struct {
		Event string `json:"event"`
		doctor.Summary
		ExitCode int `json:"exit_code"`
	}{"report", summary, code})
}
