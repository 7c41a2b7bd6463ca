package failover

import (
	"flag"
	"slices"
	"testing"
)

var (
	walkSeed = flag.Uint64("seed", 0, "run only the random walk with this seed")
	walks    = flag.Uint64("walks", 4000, "number of random walks")
)

const walkSteps = 300

// TestRandomWalk moves a guest to and fro between two hosts whose network,
// disks, processes and power fail at random. At most one host runs the guest;
// a ceded epoch is run by nobody but its destination unless that renounced it;
// and once the failures end, nothing waits but what the documentation names.
func TestRandomWalk(t *testing.T) {
	first, last := uint64(1), *walks
	if *walkSeed != 0 {
		first, last = *walkSeed, *walkSeed
	}
	reached := map[string]int{}
	for seed := first; seed <= last; seed++ {
		w := newWorld(seed)
		w.walk()
		w.heal()
		for k, n := range w.count {
			reached[k] += n
		}
		if len(w.broken) > 0 {
			t.Fatalf("-seed %d: %q\n%s", seed, w.broken, w.trailText())
		}
	}
	t.Logf("reached: %v", reached)
	for _, k := range []string{"moved", "aborted", "taken back", "keeper", "stopped", "revived", "finished"} {
		if *walkSeed == 0 && reached[k] < 10 {
			t.Errorf("the walks reached %q only %d times", k, reached[k])
		}
	}
}

func (w *world) walk() {
	w.crashes = []float64{0, 0, 0.003, 0.02}[w.random.IntN(4)]
	w.faults = []float64{0, 0, 0.05, 0.4}[w.random.IntN(4)]
	w.loss = []float64{0, 0, 0.05, 0.3}[w.random.IntN(4)]
	for range walkSteps {
		if len(w.broken) > 0 {
			return
		}
		w.step()
	}
}

// step does one thing that can happen now.
func (w *world) step() {
	h := w.hosts[w.random.IntN(2)]
	n := h.node
	switch k := w.random.IntN(20); {
	case k < 8 && len(w.mail) > 0:
		w.deliver(w.random.IntN(len(w.mail)), w.chance(0.1))
	case n == nil && k == 19:
		w.begin(h)
	case n == nil && k == 18:
		w.revive(h)
	case k == 18 && len(w.late) > 0:
		w.hand(w.late[w.random.IntN(len(w.late))])
	case n == nil:
	case k < 13:
		w.work(n, false)
	case k == 13 && w.chance(w.loss):
		w.linkUp = false
	case k < 16 && !w.linkUp && n.link:
		n.link = false
		w.apply(n, EventPeerLost)
	case k == 16:
		w.connect(w.random.IntN(2) == 0)
	case k == 17:
		w.mishap(n)
	}
}

// begin starts a send where the guest runs.
func (w *world) begin(h *host) {
	records := h.disk.records()
	if w.guest.host != h || !w.guest.running || CheckSend(records) != nil {
		return
	}
	epoch := NextEpoch(records)
	n := &node{host: h, source: true, vmm: w.guest, link: true}
	n.driver = NewDriver(NewSource(w.id, epoch, true, "peer"), newSimLog(h.disk), func(a Action) { w.perform(n, a) })
	h.node = n
	w.linkUp = true
	w.streams[epoch] = n
	w.apply(n, EventBegin)
	if !n.dead && n.driver.State() == StatePreparing {
		w.send(n, EventOffered, epoch)
	}
}

// deliver gives one message to its host, loses or doubles it.
func (w *world) deliver(i int, double bool) {
	m := w.mail[i]
	if !double {
		w.mail = slices.Delete(w.mail, i, i+1)
	}
	if w.chance(w.loss) {
		return
	}
	w.hand(m)
}

func (w *world) hand(m message) {
	if m.event == EventOffered {
		w.offer(m)
		return
	}
	if n := m.to.node; n != nil {
		w.in(n, func() { w.report(n, m.event, n.driver.ApplyMessage(m.event, m.epoch, "message")) })
	}
}

// offer starts a receive, or meets one of an earlier attempt.
func (w *world) offer(m message) {
	h := m.to
	if h.node != nil && h.node.source {
		return // a source does not listen
	}
	if n := h.node; n != nil {
		w.in(n, func() { w.report(n, EventOffered, n.driver.Reconnected(StatePreparing, m.epoch)) })
		w.refuse(m)
		return
	}
	if CheckReceive(h.disk.records(), w.id, m.epoch) != nil {
		w.refuse(m)
		return
	}
	n := &node{host: h, link: true}
	n.driver = NewDriver(NewDestination(w.id, m.epoch, true, "peer"), newSimLog(h.disk), func(a Action) { w.perform(n, a) })
	h.node = n
	w.apply(n, EventOffered)
}

func (w *world) refuse(m message) {
	n := w.other(m.to).node
	if n != nil && n.source && n.driver.Epoch() == m.epoch && n.driver.State() == StatePreparing {
		w.apply(n, EventFailed)
	}
}

// work goes on with what a node has under way; heal lets it succeed.
func (w *world) work(n *node, heal bool) bool {
	fine := heal || w.chance(0.9)
	switch {
	case len(n.local) > 0:
		e := n.local[0]
		n.local = n.local[1:]
		w.apply(n, e)
	case n.arming:
		n.arming = false
		w.outcome(n, fine, EventGuestArmed, EventFailed)
	case n.starting:
		w.start(n, fine)
	case n.freeze > 0 && !n.vmm.dead:
		w.freeze(n, fine)
	case w.canLoad(n):
		w.outcome(n, fine, EventStreamLoaded, EventFailed)
	case n.driver.again != nil:
		e := n.driver.again.event
		w.in(n, func() { w.report(n, e, n.driver.Retry()) })
	case w.canComplete(n):
		w.apply(n, EventAllInstalled)
	default:
		return false
	}
	return true
}

func (w *world) outcome(n *node, fine bool, good, bad Event) {
	if !fine {
		good = bad
	}
	w.apply(n, good)
}

// freeze: the guest stops; then the VMM is stopped for good, unless somebody
// runs the guest in between.
func (w *world) freeze(n *node, fine bool) {
	switch {
	case !fine && n.freeze == 2 && w.chance(0.5):
		n.freeze = 0
		w.run(n.vmm)
		n.local = append(n.local, EventGuestResumedBySomeone)
	case !fine:
		n.freeze = 0
		n.local = append(n.local, EventFailed)
	case n.freeze == 1:
		n.freeze = 2
		n.vmm.running = false
		n.captured = n.vmm.runs
	default:
		n.freeze = 0
		n.local = append(n.local, EventGuestFrozen)
	}
}

func (w *world) start(n *node, fine bool) {
	n.starting = false
	switch {
	case n.vmm.dead:
		n.local = append(n.local, EventRunFailed)
	case fine:
		w.checkRun(n)
		w.run(n.vmm)
		n.local = append(n.local, EventGuestRan)
	case w.chance(0.5):
		n.vmm.dead = true
		n.local = append(n.local, EventVMMDied)
	default:
		n.local = append(n.local, EventRunFailed)
	}
}

// canLoad: the stream of the source's freeze has come over.
func (w *world) canLoad(n *node) bool {
	if n.source || n.driver.State() != StateArmed || !n.link || !w.linkUp || n.vmm.dead {
		return false
	}
	s := w.streams[n.driver.Epoch()]
	return !s.dead && s.captured == s.vmm.runs && !s.vmm.running
}

// canComplete: the source serves pages until it has them all.
func (w *world) canComplete(n *node) bool {
	if n.source || n.keeper || n.driver.State() != StateOwner || !n.link || !w.linkUp || !w.ran[n.driver.Epoch()] || n.vmm.dead {
		return false
	}
	return !w.streams[n.driver.Epoch()].dead
}

// mishap is what people, timers and the kernel do.
func (w *world) mishap(n *node) {
	switch k := w.random.IntN(8); {
	case k == 0:
		w.apply(n, EventCancelled)
	case k == 1 && n.source:
		w.apply(n, EventDeadline)
	case k == 2:
		w.apply(n, EventFailed)
	case k == 3 && w.crashes > 0:
		w.die(n, false)
	case k == 4 && w.crashes > 0:
		w.die(n, true)
	case k == 5 && n.vmm != nil && !n.vmm.dead && !n.starting:
		w.lost = w.lost || n.vmm == w.guest
		n.vmm.dead, n.vmm.running = true, false
		n.local = append(n.local, EventVMMDied)
	}
}

// connect makes the link anew: the source dials, both announce themselves.
func (w *world) connect(welcomeFirst bool) bool {
	source, destination := w.hosts[0].node, w.hosts[1].node
	if source != nil && !source.source {
		source, destination = destination, source
	}
	if source == nil || destination == nil || !source.source || destination.source {
		return false
	}
	if !source.wants || !destination.wants && !destination.link {
		return false
	}
	if destination.link {
		destination.link = false
		w.apply(destination, EventPeerLost)
		return true
	}
	w.linkUp, source.wants, destination.wants = true, false, false
	source.link, destination.link = true, true
	helloState, helloEpoch := source.driver.Announce()
	welcomeState, welcomeEpoch := destination.driver.Announce()
	w.in(destination, func() { w.report(destination, EventPeerLost, destination.driver.Reconnected(helloState, helloEpoch)) })
	if !welcomeFirst {
		welcomeState, welcomeEpoch = destination.driver.Announce()
	}
	if !source.dead {
		w.in(source, func() { w.report(source, EventPeerLost, source.driver.Reconnected(welcomeState, welcomeEpoch)) })
	}
	return true
}

// heal ends all failures and lets both hosts go on until nothing moves.
func (w *world) heal() {
	if len(w.broken) > 0 {
		return
	}
	w.note("HEAL")
	w.crashes, w.faults, w.loss, w.linkUp = 0, 0, 0, false
	for range 1000 {
		if !w.healStep() {
			w.checkEnd()
			return
		}
	}
	w.fault("it never comes to rest")
}

func (w *world) healStep() bool {
	if len(w.mail) > 0 {
		w.deliver(0, false)
		return true
	}
	for _, h := range w.hosts {
		if n := h.node; n != nil && w.healNode(n) {
			return true
		}
	}
	if w.connect(true) {
		return true
	}
	return w.revive(w.hosts[0]) || w.revive(w.hosts[1]) || w.giveUp()
}

func (w *world) healNode(n *node) bool {
	if w.work(n, true) {
		return true
	}
	if n.driver.Stopped() { // the disk is repaired, and a person says go on
		w.apply(n, EventCancelled)
		return true
	}
	if n.link && (!w.linkUp || w.other(n.host).node == nil) {
		n.link = false
		w.apply(n, EventPeerLost)
		return true
	}
	return false
}

// giveUp ends the waiting for acknowledgements that nothing depends on.
func (w *world) giveUp() bool {
	patient := []State{StateRunning, StateComplete, StateRenounced}
	for _, h := range w.hosts {
		if n := h.node; n != nil && slices.Contains(patient, n.driver.State()) {
			w.apply(n, EventGiveUp)
			return true
		}
	}
	return false
}

// checkEnd: what still waits does so because the other side's process is gone.
func (w *world) checkEnd() {
	for _, h := range w.hosts {
		n := h.node
		if n == nil {
			w.count["finished"]++
			continue
		}
		peer := w.other(h).node
		alone := peer == nil || peer.keeper || n.keeper || w.refused[n.driver.Epoch()]
		s := n.driver.State()
		if n.keeper && (s == StateReserved || s == StateArmed || s == StateAbandoned) {
			continue // a revived receive just listens
		}
		if !slices.Contains([]State{StateCeded, StateLoaded, StateOwner}, s) || !alone || !w.crashed {
			w.fault("%s waits for ever in %s", h.name, s)
		}
		w.count["waits in "+s.String()]++
	}
	if !w.crashed && !w.lost && !w.guest.running {
		w.fault("the guest does not run")
	}
	if !w.crashed && len(w.refused) > 0 {
		w.fault("conflict without a crash")
	}
}
