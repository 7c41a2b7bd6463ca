package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/lazymig/lazymig/bench/guest"
	"github.com/lazymig/lazymig/bench/heartbeat"
	"github.com/lazymig/lazymig/bench/host"
	"github.com/lazymig/lazymig/bench/leftover"
	"github.com/lazymig/lazymig/bench/link"
	"github.com/lazymig/lazymig/bench/vm"
)

// defaultMemoryMiB is the changing memory of a guest whose Config does not say.
const defaultMemoryMiB = 600

// Config says what guest to move.
type Config struct {
	// VM is the guest. Image, Name, Link, Side, Beats and Disk are filled in;
	// Guest.MemoryMiB is 600 unless it is set.
	VM vm.Config
	// DiskMiB is the size of the shared disk. Default 0: no disk.
	DiskMiB int
	// From is what the guest goes on from, when QEMU has loaded it and is told
	// to; that is for the caller. Default: it is booted.
	From *Snapshot
	// Places are two hosts that are no namespaces of this machine. There is no
	// Link then, no disk, and the guest has no network. Default: namespaces.
	Places map[link.Side]Place
}

// Snapshot is a guest that was stopped, with its memory.
type Snapshot struct {
	// Path is a file on host A, what QEMU's migration writes.
	Path string
	// Beats has what the guest had begun to say: Recorder.Fork.
	Beats *heartbeat.Recorder
}

// Place is a host and what is there for the guest.
type Place struct {
	Host host.Host
	// Image is the guest, Files what vm.Config.Files has here, Program lazymig,
	// Dir the folder for sockets and logs, RAMDir the one for RAM files.
	Image          guest.Image
	Files, Program string
	Dir, RAMDir    string
}

// placedName is the guest's name on hosts that are no namespaces. It has no
// process of this machine in it, by which leftover would look for an owner.
const placedName = "bench"

// Pair is two hosts, of which one runs the guest. Its methods are for one
// goroutine.
type Pair struct {
	// Link is the network, nil between two Places.
	Link *link.Link
	// Beats is the guest's heartbeat on all hosts where it has run.
	Beats *heartbeat.Recorder
	// Name is the guest's name, unique on this machine: what lazymig creates
	// for it can be told by it.
	Name string
	// Disk is the path of the shared disk, or empty.
	Disk string

	config      vm.Config
	from        *Snapshot
	places      map[link.Side]Place
	source      *vm.VM
	destination *vm.VM
	removeDisk  func() error

	closing sync.Once
	closed  error
}

// New builds the guest image unless it is in the cache, makes the network and
// starts the guest on host A. It returns when the guest's program runs; a
// guest that is configured to start paused is only started.
func New(ctx context.Context, config Config) (*Pair, error) {
	p := &Pair{
		Beats:      heartbeat.NewRecorder(),
		Name:       leftover.Name("guest"),
		config:     config.VM,
		from:       config.From,
		places:     config.Places,
		removeDisk: func() error { return nil },
	}
	if p.places != nil {
		p.Name = placedName
	} else {
		var err error
		if p.config.Image, err = guest.Build(ctx); err != nil {
			return nil, fmt.Errorf("build the guest: %w", err)
		}
	}
	if p.from != nil {
		p.Beats = p.from.Beats
	}
	p.config.Beats, p.config.Name = p.Beats, p.Name
	if p.config.Guest.MemoryMiB == 0 {
		p.config.Guest.MemoryMiB = defaultMemoryMiB
	}
	if err := p.start(ctx, config.DiskMiB); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func (p *Pair) start(ctx context.Context, diskMiB int) (err error) {
	if p.places == nil {
		if p.Link, err = link.New(ctx); err != nil {
			return err
		}
		p.config.Link = p.Link
	}
	if diskMiB > 0 {
		if p.Disk, p.removeDisk, err = vm.CreateDisk(diskMiB); err != nil {
			return err
		}
		p.config.Disk = p.Disk
	}
	if p.source, err = p.place(link.HostA, p.config.Paused); err != nil {
		return err
	}
	return p.run(ctx)
}

// run starts the guest and, if it boots, waits until its program runs.
func (p *Pair) run(ctx context.Context) error {
	if p.from != nil {
		return p.source.Start("-incoming", "exec:cat '"+p.from.Path+"'")
	}
	if err := p.source.Start(); err != nil {
		return err
	}
	if p.config.Paused {
		return nil
	}
	_, err := p.source.Ready(ctx)
	return err
}

func (p *Pair) place(side link.Side, paused bool) (*vm.VM, error) {
	c := p.config
	c.Side, c.Paused = side, paused
	if place, ok := p.places[side]; ok {
		c.Host, c.Image, c.Dir, c.RAMDir = place.Host, place.Image, place.Dir, place.RAMDir
		if c.Files != "" {
			c.Files = place.Files
		}
	}
	return vm.New(c)
}

// Host returns the host of a side.
func (p *Pair) Host(side link.Side) host.Host {
	if place, ok := p.places[side]; ok {
		return place.Host
	}
	return host.Namespace(p.Link, side)
}

// Source returns the VM that runs the guest now.
func (p *Pair) Source() *vm.VM { return p.source }

// Destination returns a place for the guest on the other host, the same one
// until Moved or Dropped.
func (p *Pair) Destination() (*vm.VM, error) {
	if p.destination != nil {
		return p.destination, nil
	}
	var err error
	p.destination, err = p.place(p.source.Side().Other(), false)
	return p.destination, err
}

// Moved makes the destination the source and removes what is left of the
// former one.
func (p *Pair) Moved() error {
	former := p.source
	p.source, p.destination = p.destination, nil
	return former.Close()
}

// Dropped removes the destination: the guest stays where it is.
func (p *Pair) Dropped() error {
	former := p.destination
	p.destination = nil
	return former.Close()
}

// Close kills the guest and everything else on the hosts and removes it all.
// It is safe to call more than once.
func (p *Pair) Close() error {
	p.closing.Do(func() { p.closed = p.remove() })
	return p.closed
}

func (p *Pair) remove() error {
	var problems []error
	for _, v := range []*vm.VM{p.source, p.destination} {
		if v != nil {
			problems = append(problems, v.Close())
		}
	}
	for _, place := range p.places {
		problems = append(problems, place.Host.Clear())
	}
	if p.Link != nil {
		problems = append(problems, p.Link.Close())
	}
	return errors.Join(append(problems, p.removeDisk())...)
}
