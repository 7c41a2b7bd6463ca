package main

import (
	"cmp"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/lazymig/lazymig/internal/agent"
	"github.com/lazymig/lazymig/internal/vmm/microvm"
	"github.com/lazymig/lazymig/internal/vmm/qemu"
	"github.com/lazymig/lazymig/prefetch"
	"github.com/spf13/cobra"
)

// receiveFlags are the flags of receive.
type receiveFlags struct {
	sideFlags
	listen  string
	pageMap int

	prefetch []string
	trace    string
	traceFor time.Duration
}

func (a *app) receive() *cobra.Command {
	var f receiveFlags
	command := &cobra.Command{
		Use:   "receive --listen HOST:PORT -- qemu-system-x86_64 …",
		Short: "Wait for one guest and run it",
		Long: `Wait for one guest and run it.

What follows -- is the command line by which this host would start the guest:
the same as at the source but for what belongs to the host, such as paths and
tap devices. lazymig creates the RAM files, adds what an incoming guest needs,
and starts it when a source calls. QEMU stays when lazymig is done.

Exit codes: 0 done; 1 failed, the guest runs at the source; 2 usage or
configuration; 3 the guest runs here, pages are still missing; 4 the guest is
stopped and needs a person.`,
		Example: `  lazymig receive --listen 0.0.0.0:7000 -- qemu-system-x86_64 -name web1 \
    -machine q35,memory-backend=ram0 \
    -qmp unix:/run/web1.qmp,server=on,wait=off \
    -object memory-backend-file,id=ram0,mem-path=/dev/shm/web1,size=4G,share=on`,
		Args:                  cobra.ArbitraryArgs,
		ValidArgsFunction:     completeVMM,
		DisableFlagsInUseLine: true,
		RunE: func(_ *cobra.Command, args []string) error {
			job, err := f.job(args)
			if err != nil {
				return err
			}
			return a.frontEnd(job, &f.sideFlags)
		},
	}
	set := command.Flags()
	set.SetInterspersed(false) // what follows the VMM's name is the VMM's
	f.register(set)
	set.StringVar(&f.listen, "listen", "", "wait for the source at `HOST:PORT`")
	set.StringSliceVar(&f.prefetch, "prefetch", policyList(), "fetch pages ahead by `LIST` of these policies")
	set.StringVar(&f.trace, "trace", "", "write the order in which the guest touches its pages to `FILE`, and fetch nothing ahead meanwhile (see lazymig bench prefetch)")
	set.DurationVar(&f.traceFor, "trace-for", 10*time.Second, "for how long, a `DURATION`")
	set.IntVar(&f.pageMap, "page-map", 0, "with --json, tell the origin of the pages as a map of `CELLS`")
	_ = set.MarkHidden("page-map") // it exists
	require(command, "listen")
	return command
}

// plan checks what the flags say of the background.
func (f *receiveFlags) plan(job *agent.Job) (err error) {
	if job.Prefetch, err = prefetch.ParsePolicies(strings.Join(f.prefetch, ",")); err != nil {
		return usage("", "invalid --prefetch: %w", err)
	}
	if f.trace == "" {
		return nil
	}
	if job.Trace, err = filepath.Abs(f.trace); err != nil { // the engine is in another directory
		return usage("", "invalid --trace: %w", err)
	}
	if f.traceFor <= 0 {
		return usage("", "invalid --trace-for %v: use a time such as 10s", f.traceFor)
	}
	job.TraceFor = f.traceFor
	return nil
}

// policyList returns the names of all policies.
func policyList() []string {
	var list []string
	for _, p := range prefetch.Policies() {
		list = append(list, string(p))
	}
	return list
}

// job checks the flags and makes the engine's job of them.
func (f *receiveFlags) job(args []string) (agent.Job, error) {
	if len(args) == 0 {
		return agent.Job{}, usage("end the line with -- and the guest's QEMU command", "there is no VMM to start")
	}
	job, err := f.sideFlags.job(agent.KindReceive, "listen", f.listen)
	if err != nil {
		return job, err
	}
	if _, err := exec.LookPath(args[0]); err != nil {
		return job, failed(exitUsage, err, "install QEMU (Debian: apt-get install qemu-system-x86), or give its path after --")
	}
	if job.VM == "" && !microvm.IsCommandLine(args) {
		job.VM = qemu.NameFromArgs(args)
	}
	if microvm.IsCommandLine(args) {
		vm, err := microvm.ParseArgs(args[2:])
		if err != nil {
			return job, failed(exitUsage, err, "")
		}
		job.VM = cmp.Or(job.VM, vm.Name)
	}
	if job.VM == "" {
		return job, usage("add -name to it, or give --vm NAME, the same on both sides", "the guest has no name: its command line is without -name")
	}
	if f.pageMap < 0 {
		return job, usage("", "invalid --page-map %d: use 0 for none, or a number of cells", f.pageMap)
	}
	if err := f.plan(&job); err != nil {
		return job, err
	}
	job.Listen, job.Args, job.MapCells = f.listen, args, f.pageMap
	return job, checkName(job)
}
