package qemu

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lazymig/lazymig/internal/vmm"
	"github.com/lazymig/lazymig/internal/vmm/process"

	"github.com/lazymig/lazymig/internal/vmm/qmp"
)

// Attach connects to the monitor at qmpPath and finds the VMM's process. The
// guest is not disturbed.
func Attach(ctx context.Context, qmpPath string) (*Guest, error) {
	monitor, err := qmp.Dial(ctx, qmpPath)
	if err != nil {
		return nil, err
	}
	g, err := attach(ctx, qmpPath, monitor)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("attach to the guest behind %s: %w", qmpPath, err), monitor.Close())
	}
	return g, nil
}

func attach(ctx context.Context, path string, monitor *qmp.Client) (*Guest, error) {
	finder := finder{queries: queries{monitor}}
	pid, err := finder.find(ctx, monitor.PeerPID())
	if err != nil {
		return nil, err
	}
	vm, err := process.Watch(pid, nil)
	if err != nil {
		return nil, err
	}
	started, err := process.StartTime(pid)
	if err != nil {
		vm.Release()
		return nil, err
	}
	g := &Guest{
		path: path, monitor: monitor, vmm: vm, stopped: make(chan time.Time, 1), still: make(chan struct{}, 1),
		state: ThawState{QMPPath: path, PID: pid, Started: started},
	}
	if err := g.readSettings(ctx); err != nil {
		vm.Release()
		return nil, err
	}
	return g, nil
}

// Reattach opens the guest that another process of lazymig had prepared, from
// what its ThawState returned. It lets the VMM's process go on (SIGCONT), which
// does not run the guest: a stopped process answers on no monitor. The next
// call is Thaw.
func Reattach(ctx context.Context, state ThawState) (*Guest, error) {
	vm, err := process.Watch(state.PID, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", vmm.ErrGone, err)
	}
	g := &Guest{path: state.QMPPath, vmm: vm, stopped: make(chan time.Time, 1), still: make(chan struct{}, 1), state: state, prepared: true, migrating: true, continued: true}
	if err := g.rejoin(ctx); err != nil {
		vm.Release()
		return nil, fmt.Errorf("attach again to process %d: %w", state.PID, err)
	}
	return g, nil
}

func (g *Guest) rejoin(ctx context.Context) error {
	started, err := process.StartTime(g.PID())
	if err != nil || started != g.state.Started {
		return fmt.Errorf("%w: its number belongs to another process", vmm.ErrGone)
	}
	if err := g.resumeProcess(); err != nil {
		return err
	}
	g.monitor, err = dialPatiently(ctx, g.path)
	return g.explain(err)
}

// finder finds the process behind a monitor. The process that listened on the
// socket is it, unless a manager opened the socket for QEMU; the process that
// the thread of the first vCPU belongs to is it, unless QEMU has process
// numbers of its own. Where these two do not agree, it has to map the RAM
// files, and in the end it is looked for among all processes by those.
type finder struct {
	queries queries
	blocks  []blockInfo
	thread  int // of the first vCPU, as QEMU numbers it
}

func (f *finder) find(ctx context.Context, peer int) (int, error) {
	var err error
	if f.blocks, err = f.queries.blocks(ctx); err != nil {
		return 0, err
	}
	cpus, err := f.queries.cpus(ctx)
	if err != nil {
		return 0, err
	}
	if len(cpus) > 0 {
		f.thread = cpus[0].Thread
	}
	group := groupOf(f.thread)
	if peer != 0 && peer == group {
		return peer, nil
	}
	for _, pid := range []int{peer, group} {
		ok, err := f.isVMM(ctx, pid)
		if errors.Is(err, fs.ErrPermission) {
			return 0, fmt.Errorf("%w: run as root or as QEMU's user: %w", ErrNoVMM, err)
		}
		if ok {
			return pid, nil
		}
	}
	return f.scan(ctx)
}

// isVMM tells whether a process is the VMM. An error is about the process,
// not about the monitor.
func (f *finder) isVMM(ctx context.Context, pid int) (bool, error) {
	if pid <= 0 {
		return false, nil
	}
	maps, err := readMaps(pid)
	if err != nil {
		return false, err
	}
	rams, err := f.queries.findRAM(ctx, pid, f.blocks, maps)
	if err != nil {
		return false, err
	}
	rams = slices.DeleteFunc(rams, func(r ram) bool { return !r.isFile() })
	if len(rams) == 0 {
		return groupOf(f.thread) == pid, nil
	}
	return !slices.ContainsFunc(rams, func(r ram) bool { return !r.isMapped(maps) }), nil
}

// isMapped tells whether the backend's file is mapped, also one without a
// name.
func (r ram) isMapped(maps []vma) bool {
	return slices.ContainsFunc(maps, func(v vma) bool {
		return v.shared && (r.file != inode{} && v.inode == r.file || v.path == r.path || strings.HasPrefix(v.path, strings.TrimRight(r.path, "/")+"/"))
	})
}

// scan looks at all processes.
func (f *finder) scan(ctx context.Context) (int, error) {
	pids, err := processes()
	if err != nil {
		return 0, err
	}
	var found []int
	for _, pid := range pids {
		if ok, err := f.isVMM(ctx, pid); err == nil && ok && !isOurs(pid) {
			found = append(found, pid)
		}
	}
	if len(found) != 1 {
		return 0, fmt.Errorf("%w: %d processes map its RAM files: run lazymig on QEMU's host, as root", ErrNoVMM, len(found))
	}
	return found[0], nil
}

// groupOf returns the process that a thread belongs to, 0 if there is none.
func groupOf(thread int) int {
	pid, err := statusField(thread, "Tgid")
	if err != nil {
		return 0
	}
	return int(pid)
}

// statusField reads a number from /proc/PID/status; sizes there are in KiB.
func statusField(pid int, name string) (uint64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strconv.ParseUint(strings.Fields(value + " ?")[0], 10, 64)
		}
	}
	return 0, fmt.Errorf("read /proc/%d/status: there is no %s", pid, name)
}
