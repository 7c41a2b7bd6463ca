package qemu

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"

	"github.com/lazymig/lazymig/internal/vmm/process"
	"github.com/lazymig/lazymig/internal/vmm/qmp"
)

// IncomingConfig says how to start the QEMU of a destination.
type IncomingConfig struct {
	// Args is the guest's QEMU command line, the program first.
	Args []string
	// Dir is an existing directory that only this VM's lazymig uses. The
	// private monitor's socket qmp.sock and qemu.log are made in it.
	Dir string
	// Tag makes the names of RAM files unique: 1 to 64 letters, digits and
	// dashes.
	Tag string
	// OOMScoreAdj is the value of /proc/PID/oom_score_adj that QEMU gets.
	OOMScoreAdj int
}

// Incoming is a QEMU that waits for a guest, from its command line to the
// running guest. The calls are made in this order:
//
//	NewIncoming → Create → Start → Describe, Preflight → Arm → Load → Run → Announce → Detach
//
// and from anywhere behind NewIncoming: Kill → Remove → Detach. One goroutine
// makes them. Exited and Resumed may be used by any; so may Shutdown, Kill, PID
// and PIDFD between the return of Start and Detach.
//
// Two goroutines, three if QEMU is not the started process itself, follow QEMU
// from Start to its end or Detach.
type Incoming struct {
	config  IncomingConfig
	command *commandLine
	files   []*ramFile
	regions []*ramFile // those of files that are guest RAM, in layout order

	client   *qmp.Client
	process  *process.Process // QEMU
	launcher *process.Process // what was started: QEMU, or what started QEMU
	previous settings
	events   *eventLog
	exited   chan struct{} // closed when no QEMU runs any more
	served   chan struct{} // closed when serveEvents has ended; nil before it starts
	detached chan struct{} // closed by Detach

	isDetached bool
}

var tagForm = regexp.MustCompile(`^[0-9A-Za-z-]+$`)

// NewIncoming reads the command line and refuses, before anything is made,
// what cannot work. Those errors unwrap to *Refusal.
func NewIncoming(config IncomingConfig) (*Incoming, error) {
	if !tagForm.MatchString(config.Tag) || len(config.Tag) > maxTag {
		return nil, fmt.Errorf("use tag %q: want 1 to %d letters, digits and dashes", config.Tag, maxTag)
	}
	i := &Incoming{
		config:   config,
		exited:   make(chan struct{}),
		detached: make(chan struct{}),
	}
	i.events = newEventLog(i.LogPath())
	if n := len(i.QMPPath()); n > maxMonitorPath {
		return nil, fmt.Errorf("use %s: the path of a socket has at most %d bytes, this one has %d; use a shorter state directory", i.QMPPath(), maxMonitorPath, n)
	}
	command, err := parseCommandLine(config.Args)
	if err != nil {
		return nil, err
	}
	i.command = command
	problems := []error{i.refuseLiveSockets()}
	for _, b := range command.backends {
		problems = append(problems, b.checkPlace())
		i.files = append(i.files, &ramFile{id: b.id, path: b.filePath(config.Tag), size: b.size, huge: b.huge})
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	return i, nil
}

// refuseLiveSockets looks at the sockets of the command line and at the
// private monitor's own.
func (i *Incoming) refuseLiveSockets() error {
	own := serverSocket{path: i.QMPPath()}
	alive, err := own.isAlive()
	if err != nil {
		return fmt.Errorf("look at the socket %s: %w", own.path, err)
	}
	if alive {
		return fmt.Errorf("use %s: another QEMU listens there: a destination of this VM is running already", own.path)
	}
	return i.command.refuseLiveSockets()
}

// Create makes the RAM files. On an error none is left.
func (i *Incoming) Create() error {
	for _, f := range i.files {
		if err := f.create(i.command.owner); err != nil {
			return errors.Join(err, i.removeFiles(), i.closeFiles())
		}
	}
	return nil
}

// QMPPath returns the path of the private monitor's socket.
func (i *Incoming) QMPPath() string { return filepath.Join(i.config.Dir, "qmp.sock") }

// LogPath returns the path of QEMU's log: what it writes to its standard
// output and error.
func (i *Incoming) LogPath() string { return filepath.Join(i.config.Dir, "qemu.log") }

// RAMFiles returns the paths of the RAM files in the order of the command
// line.
func (i *Incoming) RAMFiles() []string {
	var list []string
	for _, f := range i.files {
		list = append(list, f.path)
	}
	return list
}

// PID returns QEMU's process id, 0 before Start.
func (i *Incoming) PID() int {
	if i.process == nil {
		return 0
	}
	return i.process.PID
}

// PIDFD returns a descriptor of QEMU's process that Incoming owns, valid until
// Detach; -1 before Start.
func (i *Incoming) PIDFD() int {
	if i.process == nil {
		return -1
	}
	return i.process.FD
}

// Describe asks QEMU what guest it would run.
func (i *Incoming) Describe(ctx context.Context) (Description, error) {
	description, err := describe(ctx, i.client, i.PID())
	return description, i.explain(err)
}
