package microvm

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// machine is a guest with its vCPU. The goroutine of serveCPU runs it; it is
// parked, at the end of a page operation, while it is stopped.
type machine struct {
	program program
	memory  []byte
	cpu     cpu
	serial  io.Writer

	halt atomic.Bool // the vCPU shall park

	mu      sync.Mutex // protects all below
	changed sync.Cond  // of what is below
	running bool       // the vCPU may run
	held    bool       // the guest is being moved
	parked  bool       // it does not
	ended   bool       // it never will again
	failure error      // why, if that was not wanted
	state   State      // while it is parked
	since   time.Time  // when it was let run

	verifying      bool // the memory is being verified
	pausedToVerify bool // the guest goes on behind that
}

func newMachine(c cpu, p program, memory []byte, serial io.Writer) *machine {
	m := &machine{program: p, memory: memory, cpu: c, serial: serial, parked: true}
	m.state = State{Version: stateVersion, Size: uint64(len(memory))}
	m.changed.L = &m.mu
	m.halt.Store(true)
	return m
}

// serveCPU runs the vCPU until the machine is ended.
func (m *machine) serveCPU() error {
	runtime.LockOSThread() // KVM wants a vCPU to stay with its thread
	defer runtime.UnlockOSThread()
	for {
		state, since, ok := m.enter()
		if !ok {
			return m.failure
		}
		if err := m.drive(state, since); err != nil {
			m.end(err)
		}
	}
}

// enter waits until the vCPU may run, and returns from where and since when. It
// reports false when it shall end.
func (m *machine) enter() (s State, since time.Time, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.parked = true
	m.changed.Broadcast()
	for !m.running && !m.ended {
		m.changed.Wait()
	}
	m.parked = false
	return m.state, m.since, !m.ended
}

// drive runs the vCPU until it shall park, and beats.
func (m *machine) drive(s State, since time.Time) error {
	if err := m.cpu.set(s.Registers); err != nil {
		return err
	}
	b := beats{serial: m.serial, began: since, clock: s.Clock, sequence: s.Sequence, last: since}
	last := since
	for !m.halt.Load() {
		if err := m.cpu.operate(); err != nil {
			return err
		}
		s.Ops++
		now := time.Now()
		b.done(s.Ops, now.Sub(last), now)
		last = now
	}
	registers, err := m.cpu.get()
	s.Registers, s.Sequence, s.Clock = registers, b.sequence, b.clock+last.Sub(b.began)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state = s
	return err
}

// run lets the guest run and returns since when. A guest that runs already
// goes on; one that is just being stopped is not. While the guest is held only
// its holder may.
func (m *machine) run(release bool) (time.Time, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.awaitVerified()
	switch {
	case m.ended:
		return time.Time{}, m.hasEnded("run the guest")
	case m.held && !release:
		return time.Time{}, errors.New("run the guest: it is being moved")
	case m.running:
		return m.since, nil
	}
	m.held = false
	m.start()
	return m.since, nil
}

// start lets the vCPU go on. The caller holds mu.
func (m *machine) start() {
	m.running, m.since = true, time.Now()
	m.halt.Store(false)
	m.changed.Broadcast()
}

// stop stops the guest behind the page operation that it is in, which may have
// to wait for a page, and holds it if wanted. It returns the state and, if the
// guest ran, when it stopped.
func (m *machine) stop(hold bool) (State, time.Time, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.awaitVerified()
	ran := m.running
	m.park()
	switch {
	case m.ended:
		return State{}, time.Time{}, m.hasEnded("stop the guest")
	case m.running:
		return State{}, time.Time{}, errors.New("stop the guest: somebody has let it run meanwhile")
	}
	m.held = m.held || hold
	if !ran {
		return m.state, time.Time{}, nil
	}
	return m.state, time.Now(), nil
}

// release lets anybody run a guest that was held.
func (m *machine) release() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.held = false
}

// park waits until the vCPU does not run, or until somebody lets it run again.
// The caller holds mu.
func (m *machine) park() {
	m.halt.Store(true)
	m.running = false
	for !m.parked && !m.ended && !m.running {
		m.changed.Wait()
	}
}

// load replaces the state of a guest that does not run.
func (m *machine) load(s State) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.awaitVerified()
	if m.running || !m.parked {
		return errors.New("load a state: the guest runs")
	}
	m.state = s
	return nil
}

// verify checks the whole memory while the guest stands still. For everybody
// else it goes on running.
func (m *machine) verify() (Verdict, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.awaitVerified()
	ran := m.running
	m.park()
	if m.ended || m.running {
		return Verdict{}, errors.Join(errors.New("verify the memory: the guest does not stand still"), m.failure)
	}
	m.verifying, m.pausedToVerify = true, ran
	s := m.state
	m.mu.Unlock()
	v := m.program.verify(m.memory, s.Registers)
	m.mu.Lock()
	m.verifying, m.pausedToVerify = false, false
	if ran && !m.ended {
		m.start()
	}
	m.changed.Broadcast()
	return v, nil
}

// awaitVerified waits for the end of a verification. The caller holds mu.
func (m *machine) awaitVerified() {
	for m.verifying && !m.ended {
		m.changed.Wait()
	}
}

func (m *machine) hasEnded(what string) error {
	return fmt.Errorf("%s: %w", what, errors.Join(errors.New("it has ended"), m.failure))
}

// isRunning reports whether the guest runs.
func (m *machine) isRunning() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.running || m.pausedToVerify
}

// end makes the vCPU end behind the operation that it is in.
func (m *machine) end(failure error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.ended {
		m.ended, m.failure, m.running = true, failure, false
	}
	m.halt.Store(true)
	m.changed.Broadcast()
}
