package microvm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/internal/vmm"
	"github.com/lazymig/lazymig/internal/vmm/firecracker"
	"github.com/lazymig/lazymig/internal/vmm/process"
	"github.com/lazymig/lazymig/uffd"
)

// IncomingConfig says how to start the VMM of a destination.
type IncomingConfig struct {
	// Args is the command line, the program first.
	Args []string
	// Dir is an existing directory that only this VM's lazymig uses.
	Dir string
	// Tag makes the name of the RAM file unique.
	Tag string
	// OOMScoreAdj is the value of oom_score_adj that the VMM gets.
	OOMScoreAdj int
}

// Incoming is a VMM that waits for a guest. The calls are made in this order:
//
//	NewIncoming → Create → Start → Preflight → Arm → Load → Run → Announce → Detach
//
// and from anywhere behind NewIncoming: Kill → Remove → Detach. One goroutine
// follows the VMM from Start to its end or Detach.
type Incoming struct {
	config  IncomingConfig
	vm      Config
	inode   uint64 // of the RAM file; 0 before Create
	process *process.Process
	client  *client
	handler *firecracker.Listener
	exited  chan struct{} // closed when the VMM has ended and its words were read
	left    chan struct{} // closed by Detach
	resumed chan struct{} // closed when the guest runs
	wait    sync.WaitGroup

	isDetached bool

	mu     sync.Mutex // protects what follows
	ran    time.Time  // set before resumed is closed
	reason string     // of a shutdown
}

// NewIncoming reads the command line. Nothing is made yet.
func NewIncoming(config IncomingConfig) (*Incoming, error) {
	vm, err := ParseArgs(config.Args[min(2, len(config.Args)):])
	if err != nil {
		return nil, err
	}
	vm.RAM += ".lazymig-" + config.Tag
	vm.Incoming = filepath.Join(config.Dir, "handoff.sock")
	return &Incoming{config: config, vm: vm, exited: make(chan struct{}), left: make(chan struct{}), resumed: make(chan struct{})}, nil
}

// Create makes the RAM file.
func (i *Incoming) Create() error {
	file, err := os.OpenFile(i.vm.RAM, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("create the RAM file: %w", err)
	}
	status, err := statFile(file)
	i.inode = status.Ino
	return errors.Join(err, file.Truncate(int64(i.vm.Size)), file.Close())
}

// Start starts the VMM and connects to it. On an error none is left.
func (i *Incoming) Start(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("the microvm did not come up in %v", startTimeout))
	defer cancel()
	var err error
	if i.handler, err = firecracker.Listen(i.vm.Incoming); err != nil {
		return err
	}
	i.process, err = process.Start(i.vm.args(i.config.Args[0]), i.LogPath(), process.Mark(i.config.Tag))
	if err != nil {
		return fmt.Errorf("start the microvm: %w", err)
	}
	if err = i.process.SetOOMScore(i.config.OOMScoreAdj); err == nil {
		err = i.connect(ctx)
	}
	if err != nil {
		close(i.exited)
		return errors.Join(err, i.process.End())
	}
	i.wait.Go(i.serve)
	return nil
}

// connect tries until the VMM answers.
func (i *Incoming) connect(ctx context.Context) error {
	for {
		c, err := dial(ctx, i.vm.Control)
		if err == nil {
			var s Status
			if s, err = c.status(ctx); err == nil && s.PID == i.process.PID {
				i.client = c
				return nil
			}
			err = errors.Join(err, c.close())
		}
		select {
		case <-time.After(dialInterval):
		case <-i.process.Exited():
			return fmt.Errorf("start the microvm: it ended at once; %s", process.LogTail(i.LogPath()))
		case <-ctx.Done():
			return fmt.Errorf("start the microvm: %w: %w; %s", context.Cause(ctx), err, process.LogTail(i.LogPath()))
		}
	}
}

// serve follows the VMM's events until it has ended or Detach was called.
func (i *Incoming) serve() {
	for {
		select {
		case e := <-i.client.events:
			i.note(e)
			continue
		case <-i.client.ended:
		}
		for len(i.client.events) > 0 {
			i.note(<-i.client.events)
		}
		break
	}
	select {
	case <-i.process.Exited():
		close(i.exited)
	case <-i.left:
	}
}

func (i *Incoming) note(e event) {
	i.mu.Lock()
	defer i.mu.Unlock()
	switch e.Event {
	case eventResume:
		if i.ran.IsZero() {
			i.ran = time.Unix(0, e.At)
			close(i.resumed)
		}
	case eventShutdown:
		i.reason = e.Reason
	}
}

// Preflight checks that the guest of source can run here.
func (i *Incoming) Preflight(_ context.Context, source vmm.Description) ([]vmm.Check, error) {
	return compare(source, i.vm)
}

// Needs says where guest RAM goes and how much of it the guest of source has, in
// bytes.
func (i *Incoming) Needs(source vmm.Description) (directory string, bytes uint64, err error) {
	d, err := parseDetails(source)
	return filepath.Dir(i.vm.RAM), d.Allocated, err
}

// Arm takes the userfaultfd that the VMM hands over. The VMM keeps a copy.
func (i *Incoming) Arm(ctx context.Context) (*uffd.Handle, []vmm.Mapping, error) {
	ctx, cancel := context.WithTimeout(ctx, armTimeout)
	defer cancel()
	h, err := i.handler.Accept(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("take the microvm's userfaultfd: %w", err)
	}
	r := h.Regions[0]
	if h.PID != i.process.PID || len(h.Regions) != 1 || r.Offset != 0 || r.Size != i.vm.Size || r.PageSize != lazymig.PageSize {
		return nil, nil, errors.Join(fmt.Errorf("take the microvm's userfaultfd: process %d handed %v over", h.PID, h.Regions), h.Close())
	}
	if err := errors.Join(h.PIDFD.Close(), i.handler.Close()); err != nil {
		return nil, nil, errors.Join(err, h.Handle.Close())
	}
	return h.Handle, []vmm.Mapping{{Start: r.Address, Length: r.Size}}, nil
}

// Run lets the guest run and waits until it does.
func (i *Incoming) Run(ctx context.Context) error {
	var r resumed
	err := i.client.execute(ctx, request{Execute: commandRun}, &r)
	switch {
	case err == nil:
		i.note(event{Event: eventResume, At: r.At})
		return nil
	case errors.Is(err, errRefused) && !i.hasRun():
		return fmt.Errorf("run the guest: %w", err)
	}
	return fmt.Errorf("run the guest: %w: %w", vmm.ErrMayHaveRun, err)
}

// hasRun reports whether the guest runs or did so.
func (i *Incoming) hasRun() bool {
	select {
	case <-i.resumed:
		return true
	default:
		return false
	}
}

// Announce does nothing: the guest has no network.
func (i *Incoming) Announce(context.Context) error { return nil }

// PID returns the VMM's process id, 0 before Start.
func (i *Incoming) PID() int {
	if i.process == nil {
		return 0
	}
	return i.process.PID
}

// MonitorPath returns the path of the socket that is only this VM's: that of
// the hand-off. The control socket is the user's.
func (i *Incoming) MonitorPath() string { return i.vm.Incoming }

// LogPath returns the path of what the VMM writes to its standard output and
// error.
func (i *Incoming) LogPath() string { return filepath.Join(i.config.Dir, "microvm.log") }

// RAMFiles returns the path of the RAM file.
func (i *Incoming) RAMFiles() []string { return []string{i.vm.RAM} }

// Exited is closed when the VMM has ended.
func (i *Incoming) Exited() <-chan struct{} { return i.exited }

// Resumed is closed when the guest has begun to run.
func (i *Incoming) Resumed() <-chan struct{} { return i.resumed }

// ResumedAt is when the guest began to run; zero if it has not.
func (i *Incoming) ResumedAt() time.Time {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.ran
}

// Shutdown tells how the VMM ended: powerOff if somebody had said quit.
func (i *Incoming) Shutdown() (reason string, powerOff bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.reason == "" && i.process != nil && i.process.HasExited() {
		return i.process.Child.ProcessState.String(), false
	}
	return i.reason, i.reason == commandQuit
}

// Kill ends the VMM at once. Before Start it does nothing.
func (i *Incoming) Kill(ctx context.Context) error {
	if i.process == nil {
		return nil
	}
	return kill(ctx, i.process)
}

// Remove unlinks what was made, once the VMM has ended.
func (i *Incoming) Remove() error {
	if i.process != nil && !i.process.HasExited() {
		return fmt.Errorf("remove the RAM file: the microvm (process %d) still runs, kill it first", i.process.PID)
	}
	if i.inode == 0 {
		return nil
	}
	var err error
	if i.client != nil { // it was its own
		if err = os.Remove(i.vm.Control); errors.Is(err, os.ErrNotExist) {
			err = nil
		}
	}
	return errors.Join(err, unlink(i.vm.RAM, i.inode))
}

// Detach closes everything that Incoming holds and leaves the VMM as it is.
// Calls after the first do nothing.
func (i *Incoming) Detach() error {
	var errs []error
	if i.handler != nil {
		errs = append(errs, i.handler.Close())
	}
	if i.client != nil && !i.isDetached {
		i.isDetached = true
		close(i.left)
		errs = append(errs, i.client.close())
		i.wait.Wait()
	}
	if i.process != nil {
		i.process.Release()
	}
	return errors.Join(errs...)
}
