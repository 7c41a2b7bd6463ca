package failover

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/lazymig/lazymig"
)

// vmm is one VMM process of the simulation.
type vmm struct {
	host    *host
	running bool
	dead    bool
	runs    int // how often it was set running: content changes
}

// host is a machine of the simulation.
type host struct {
	name string
	disk *disk
	vmms []*vmm
	node *node // the engine or keeper that lives there
}

// node is a process with a driver: an engine or a keeper.
type node struct {
	host   *host
	source bool
	keeper bool
	driver *Driver
	vmm    *vmm
	link   bool // it believes that the link is there
	wants  bool // it waits for a new link
	local  []Event

	freeze   int // 0 not asked, 1 asked, 2 guest stopped and stream out
	captured int // vmm.runs at the freeze
	arming   bool
	starting bool
	dead     bool
}

// message is on its way to a host.
type message struct {
	to    *host
	event Event
	epoch lazymig.Epoch
}

// crash unwinds a process at a point of its work.
type crash struct{ power bool }

// world is two hosts, a bad network, and everything that can go wrong.
type world struct {
	random  *rand.Rand
	id      lazymig.VMID
	hosts   [2]*host
	mail    []message
	late    []message // copies that come at any later time
	linkUp  bool
	crashes float64 // chance at each point
	faults  float64 // chance of a disk error
	loss    float64 // chance that a message is lost

	guest     *vmm                    // where the guest was last
	targets   map[lazymig.Epoch]*vmm  // the VMM that the guest was to come to
	streams   map[lazymig.Epoch]*node // the source that froze for the epoch
	committed map[lazymig.Epoch]bool  // COMMIT was sent
	ran       map[lazymig.Epoch]bool  // the destination ran it
	refused   map[lazymig.Epoch]bool  // ErrConflict was seen
	crashed   bool                    // any process or host died
	lost      bool                    // a VMM died with the guest in it
	count     map[string]int          // what was reached
	trail     []string
	broken    []string
}

func newWorld(seed uint64) *world {
	w := &world{
		random:    rand.New(rand.NewPCG(seed, 1)),
		id:        lazymig.VMID{1},
		targets:   map[lazymig.Epoch]*vmm{},
		streams:   map[lazymig.Epoch]*node{},
		committed: map[lazymig.Epoch]bool{},
		ran:       map[lazymig.Epoch]bool{},
		refused:   map[lazymig.Epoch]bool{},
		count:     map[string]int{},
	}
	for i, name := range []string{"A", "B"} {
		w.hosts[i] = &host{name: name, disk: &disk{w: w}}
	}
	w.guest = w.boot(w.hosts[0])
	return w
}

func (w *world) boot(h *host) *vmm {
	v := &vmm{host: h}
	h.vmms = append(h.vmms, v)
	w.run(v)
	return v
}

func (w *world) chance(p float64) bool { return w.random.Float64() < p }

func (w *world) note(format string, args ...any) {
	w.trail = append(w.trail, fmt.Sprintf(format, args...))
}

func (w *world) fault(format string, args ...any) {
	w.broken = append(w.broken, fmt.Sprintf(format, args...))
	w.note("BROKEN: "+format, args...)
}

// point is a place where a process may die, alone or with its host.
func (w *world) point() {
	if w.chance(w.crashes) {
		panic(crash{power: w.chance(0.2)})
	}
}

// run sets a VMM running and checks that it is the only one.
func (w *world) run(v *vmm) {
	if v.dead || v.running {
		return
	}
	v.running = true
	v.runs++
	for _, h := range w.hosts {
		for _, o := range h.vmms {
			if o != v && o.running {
				w.fault("two hosts run the guest")
			}
		}
	}
	w.guest = v
}

// in runs a part of a node's work and lets the node die in it.
func (w *world) in(n *node, work func()) {
	defer func() {
		if r := recover(); r != nil {
			c, ok := r.(crash)
			if !ok {
				panic(r)
			}
			w.die(n, c.power)
		}
	}()
	work()
	if n.driver.Finished() && !n.dead {
		n.dead = true
		n.host.node = nil
		w.note("%s finished in %s", n.host.name, n.driver.State())
	}
}

// die ends a process, and starts the keeper that stands beside it.
func (w *world) die(n *node, power bool) {
	if n.dead {
		return
	}
	w.crashed = true
	n.dead = true
	h := n.host
	h.node = nil
	w.note("%s: process dies in %s, power cut: %v", h.name, n.driver.State(), power)
	if power {
		w.powerCut(h)
	}
	if !n.driver.Stopped() && w.chance(0.75) {
		w.keep(n, power)
	}
	if power && w.mayBoot(h) && w.chance(0.5) {
		w.note("%s boots the guest", h.name)
		w.guest = w.boot(h)
	}
}

func (w *world) powerCut(h *host) {
	for _, v := range h.vmms {
		w.lost = w.lost || v == w.guest
		v.dead, v.running = true, false
	}
	h.disk.powerCut()
}

// mayBoot is what an init script may conclude from a journal after a power cut.
func (w *world) mayBoot(h *host) bool {
	return w.guest.dead && w.guest.host == h &&
		slices.Contains([]State{StateNone, StateRunning, StatePreparing, StateFrozen, StateOwner, StateComplete}, h.disk.last().State)
}

// keep starts a keeper, or after a power cut what a person starts in its place.
func (w *world) keep(dead *node, power bool) {
	n := &node{host: dead.host, source: dead.source, keeper: true, vmm: dead.vmm}
	epoch, last := dead.driver.Epoch(), n.host.disk.last()
	var m Machine = RestoreDestination(last, epoch)
	if n.source {
		m = RestoreSource(last, epoch)
	}
	n.driver = NewDriver(m, newSimLog(n.host.disk), func(a Action) { w.perform(n, a) })
	n.host.node = n
	w.note("%s: a keeper takes over from %s of epoch %d", n.host.name, last.State, last.Epoch)
	w.count["keeper"]++
	w.apply(n, EventEngineLost)
	if power {
		n.local = append(n.local, EventVMMDied)
	}
}

// revive starts a receive again while the source of the last record calls.
func (w *world) revive(h *host) bool {
	last, source := h.disk.last(), w.other(h).node
	if h.node != nil || source == nil || !source.source || !source.wants || source.driver.State() != StateCeded ||
		source.driver.Epoch() != last.Epoch || last.State == StateOwner || len(h.vmms) == 0 {
		return false
	}
	n := &node{host: h, keeper: true, wants: true, vmm: h.vmms[len(h.vmms)-1]}
	log := newSimLog(h.disk)
	n.driver = NewDriver(RestoreDestination(last, last.Epoch), log, func(a Action) { w.perform(n, a) })
	w.note("%s: receive starts again in %s", h.name, n.driver.State())
	w.count["revived"]++
	h.node = n
	if last.State != StateComplete {
		w.kill(n) // what is left of the old VMM
	}
	w.in(n, func() {
		if log.Sync() != nil {
			n.dead, h.node = true, nil
		}
	})
	return true
}

func (w *world) apply(n *node, e Event) {
	w.in(n, func() {
		w.report(n, e, n.driver.Apply(e, "simulated"))
	})
}

func (w *world) report(n *node, e Event, err error) {
	w.note("%s: %s → %s (%v)", n.host.name, e, n.driver.State(), err)
	if errors.Is(err, ErrConflict) {
		w.refused[n.driver.Epoch()] = true
	}
	if errors.Is(err, ErrStopped) {
		w.count["stopped"]++
	}
}

var sends = map[ActionKind]Event{
	ActionSendArmed:     EventPeerArmed,
	ActionSendReady:     EventPeerReady,
	ActionSendCommit:    EventCommitted,
	ActionSendAbort:     EventAborted,
	ActionSendResumed:   EventResumed,
	ActionSendAbandoned: EventPeerAbandoned,
	ActionSendRenounced: EventRenounced,
	ActionSendComplete:  EventPeerComplete,
	ActionSendReleased:  EventPeerReleased,
}

func (w *world) other(h *host) *host {
	if h == w.hosts[0] {
		return w.hosts[1]
	}
	return w.hosts[0]
}

func (w *world) send(n *node, e Event, epoch lazymig.Epoch) {
	if !n.link {
		return
	}
	m := message{to: w.other(n.host), event: e, epoch: epoch}
	w.mail = append(w.mail, m)
	if w.chance(0.3) {
		w.late = append(w.late, m)
	}
}

// perform is the engine of the simulation, and most of its checks.
func (w *world) perform(n *node, a Action) {
	w.point()
	w.note("%s: %s", n.host.name, a.Kind)
	switch a.Kind {
	case ActionArm:
		n.arming = true
		n.vmm = &vmm{host: n.host}
		w.targets[a.Epoch] = n.vmm
		n.host.vmms = append(n.host.vmms, n.vmm)
	case ActionFreeze:
		n.freeze = 1
	case ActionRunGuest:
		n.starting = true
	case ActionResumeGuest:
		w.checkResume(n, a)
		n.freeze = 0
		w.run(n.vmm)
	case ActionKillVMM:
		w.kill(n)
	case ActionReconnect:
		n.wants = !n.link
	case ActionSendCommit:
		w.checkCommit(n, a)
	case ActionRelease:
		if n.source && !w.ran[a.Epoch] {
			w.fault("the source of epoch %d is emptied before the guest ran", a.Epoch)
		}
	default: // records, words to the other side, and what has no effect here
	}
	if e, ok := sends[a.Kind]; ok {
		w.send(n, e, a.Epoch)
	}
	w.point()
}

func (w *world) kill(n *node) {
	if n.vmm == nil || n.vmm.dead {
		return
	}
	if n.vmm.running && !(n.source && w.ran[n.driver.Epoch()]) {
		w.fault("%s kills the running guest", n.host.name)
	}
	n.vmm.dead, n.vmm.running = true, false
	n.starting = false
}

func (w *world) checkCommit(n *node, a Action) {
	if !n.host.disk.durable(StateCeded, a.Epoch) {
		w.fault("COMMIT of epoch %d is sent and CEDED is not durable", a.Epoch)
	}
	w.committed[a.Epoch] = true
	w.count["committed"]++
}

// checkResume: the source runs a ceded epoch only as the next one, renounced.
func (w *world) checkResume(n *node, a Action) {
	if w.ran[a.Epoch] {
		w.fault("the source runs epoch %d, which ran at the destination", a.Epoch)
	}
	if !w.committed[a.Epoch] {
		w.count["aborted"]++
		if n.host.disk.last().State == StateCeded {
			w.fault("the source runs with CEDED in its journal")
		}
		return
	}
	w.count["taken back"]++
	if v := w.targets[a.Epoch]; v != nil && !v.dead {
		w.fault("the source takes epoch %d back and its VMM lives at the destination", a.Epoch)
	}
	if !n.host.disk.durable(StateRunning, a.Epoch+1) {
		w.fault("the source takes epoch %d back without a durable record", a.Epoch)
	}
	if !w.other(n.host).disk.durable(StateRenounced, a.Epoch) {
		w.fault("the source takes epoch %d back and RENOUNCED is not durable", a.Epoch)
	}
}

// checkRun: the destination runs only what was ceded to it, and unchanged.
func (w *world) checkRun(n *node) {
	e := n.driver.Epoch()
	source := w.streams[e]
	switch {
	case !w.committed[e]:
		w.fault("the destination runs epoch %d without a commit", e)
	case !n.host.disk.durable(StateOwner, e):
		w.fault("the destination runs epoch %d and OWNER is not durable", e)
	case source.vmm.running || source.vmm.runs != source.captured:
		w.fault("the destination runs an old copy of the guest")
	case n.keeper:
		w.fault("a keeper runs the guest")
	}
	w.ran[e] = true
	w.count["moved"]++
}

func (w *world) trailText() string { return strings.Join(w.trail, "\n") }
