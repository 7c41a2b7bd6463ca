package host

import (
	"sync"
	"time"

	"github.com/lazymig/lazymig/bench/process"
)

// costs is the Watch of a Local.
type costs struct {
	find     func() []int // the processes of the host
	stop     chan struct{}
	done     chan struct{} // closed when serve has ended
	stopping sync.Once

	mu        sync.Mutex // protects all below
	processes map[int]*watched
	peak      uint64
}

// watched is one process. Its virtual CPUs are the guest's and cost nothing.
type watched struct {
	vcpus   []int
	began   time.Duration // used when the watch began
	used    time.Duration
	memory  uint64
	own     uint64 // memory that it has without a move
	hasDied bool
}

// Watch begins to watch.
func (h *Local) Watch() (Watch, error) {
	c := &costs{find: h.processes, stop: make(chan struct{}), done: make(chan struct{}), processes: map[int]*watched{}}
	c.discover()
	c.look()
	for _, p := range c.processes {
		p.began = p.used
	}
	go c.serve()
	return c, nil
}

func (c *costs) serve() {
	defer close(c.done)
	tick := time.NewTicker(samplePeriod)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-c.stop:
			return
		case <-tick.C:
		}
		if n%discoverEvery == 0 {
			c.discover()
		}
		c.look()
	}
}

// discover finds processes that have been started.
func (c *costs) discover() {
	pids := c.find()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, pid := range pids {
		if c.processes[pid] == nil {
			c.processes[pid] = &watched{}
		}
	}
}

// look reads the costs of all known processes.
func (c *costs) look() {
	c.mu.Lock()
	defer c.mu.Unlock()
	var memory uint64
	for pid, p := range c.processes {
		if p.look(pid); !p.hasDied {
			memory += max(p.memory, p.own) - p.own
		}
	}
	c.peak = max(c.peak, memory)
}

func (p *watched) look(pid int) {
	if p.hasDied {
		return
	}
	var guest time.Duration
	for _, thread := range p.vcpus {
		used, err := process.ThreadCPU(pid, thread)
		if err != nil {
			p.hasDied = true
			return
		}
		guest += used
	}
	b, err := process.Look(pid)
	if err != nil {
		p.hasDied = true
		return
	}
	p.used, p.memory = max(p.used, b.CPU-guest), b.Anonymous
}

// Exclude names what of a QEMU does not count.
func (c *costs) Exclude(pid int, vcpus []int, memory uint64) error {
	c.discover()
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.processes[pid]; p != nil {
		p.vcpus, p.own, p.used = vcpus, memory, 0
		p.look(pid)
	}
	return nil
}

// Rebase forgets what has been used until now.
func (c *costs) Rebase() error {
	c.look()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.peak = 0
	for _, p := range c.processes {
		p.began = p.used
	}
	return nil
}

// Spent returns what has been used since.
func (c *costs) Spent() (Spent, error) {
	c.discover()
	c.look()
	c.mu.Lock()
	defer c.mu.Unlock()
	s := Spent{Peak: c.peak, Resident: map[int]uint64{}}
	for pid, p := range c.processes {
		s.Time += p.used - p.began
		if !p.hasDied {
			s.Resident[pid] = p.memory
		}
	}
	return s, nil
}

// Close ends the watch.
func (c *costs) Close() error {
	c.stopping.Do(func() { close(c.stop) })
	<-c.done
	return nil
}
