package migrations

import (
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/lazymig/lazymig/bench/link"
	"github.com/lazymig/lazymig/bench/process"
)

// costs watches all processes in the namespaces of both hosts. What a process
// had used when it was seen last counts.
type costs struct {
	namespaces map[uint64]link.Side // by inode
	stop       chan struct{}
	done       chan struct{} // closed when serve has ended
	stopping   sync.Once

	mu        sync.Mutex // protects all below
	processes map[int]*watched
	peak      map[link.Side]uint64
}

// watched is one process. Its virtual CPUs are the guest's and cost nothing.
type watched struct {
	side    link.Side
	vcpus   []int
	began   time.Duration // used when the watch began
	used    time.Duration
	memory  uint64
	own     uint64 // memory that it has without a move
	hasDied bool
}

// watchCosts begins to watch: what runs already has used nothing yet.
func watchCosts(l *link.Link) (*costs, error) {
	c := &costs{
		namespaces: map[uint64]link.Side{}, stop: make(chan struct{}), done: make(chan struct{}),
		processes: map[int]*watched{}, peak: map[link.Side]uint64{},
	}
	for _, side := range []link.Side{link.HostA, link.HostB} {
		inode, err := inodeOf("/run/netns/" + l.Namespace(side))
		if err != nil {
			return nil, err
		}
		c.namespaces[inode] = side
	}
	c.discover()
	c.look()
	for _, p := range c.processes {
		p.began = p.used
	}
	go c.serve()
	return c, nil
}

func inodeOf(path string) (uint64, error) {
	var s syscall.Stat_t
	if err := syscall.Stat(path, &s); err != nil {
		return 0, err
	}
	return s.Ino, nil
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
	entries, _ := os.ReadDir("/proc")
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || c.processes[pid] != nil {
			continue
		}
		inode, err := inodeOf(filepath.Join("/proc", e.Name(), "ns/net"))
		if side, ok := c.namespaces[inode]; ok && err == nil {
			c.processes[pid] = &watched{side: side}
		}
	}
}

// look reads the costs of all known processes.
func (c *costs) look() {
	c.mu.Lock()
	defer c.mu.Unlock()
	memory := map[link.Side]uint64{}
	for pid, p := range c.processes {
		if p.look(pid); !p.hasDied {
			memory[p.side] += max(p.memory, p.own) - p.own
		}
	}
	for side, bytes := range memory {
		c.peak[side] = max(c.peak[side], bytes)
	}
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

// exclude names the virtual CPUs of a QEMU and the memory that it has without a
// move, which then count no more.
func (c *costs) exclude(pid int, vcpus []int, memory uint64) {
	c.discover()
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.processes[pid]; p != nil {
		p.vcpus, p.own, p.used = vcpus, memory, 0
		p.look(pid)
	}
}

// rebase forgets what has been used until now.
func (c *costs) rebase() {
	c.look()
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.peak)
	for _, p := range c.processes {
		p.began = p.used
	}
}

// used returns the time that a host's processes have used.
func (c *costs) used(side link.Side) time.Duration {
	c.look()
	c.mu.Lock()
	defer c.mu.Unlock()
	var sum time.Duration
	for _, p := range c.processes {
		if p.side == side {
			sum += p.used - p.began
		}
	}
	return sum
}

// resident returns the memory of a process.
func (c *costs) resident(pid int) uint64 {
	c.look()
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.processes[pid]; p != nil {
		return p.memory
	}
	return 0
}

// memory returns the most memory that a host's processes had at one time.
func (c *costs) memory(side link.Side) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.peak[side]
}

// close ends the watch. It is safe to call more than once.
func (c *costs) close() {
	c.stopping.Do(func() { close(c.stop) })
	<-c.done
}
