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
	told    func(event) // of what happens; must not block

	halt atomic.Bool // the vCPU shall park

	mu      sync.Mutex // protects all below
	changed sync.Cond  // of what is below
	running bool       // the vCPU may run
	parked  bool       // it does not
	ended   bool       // it never will again
	failure error      // why, if that was not wanted
	state   State      // while it is parked
	since   time.Time  // when it was let run
}

func newMachine(c cpu, p program, memory []byte, serial io.Writer, told func(event)) *machine {
	m := &machine{program: p, memory: memory, cpu: c, serial: serial, told: told, parked: true}
	m.state = State{Version: stateVersion, Size: uint64(len(memory))}
	m.changed.L = &m.mu
	m.halt.Store(true)
	return m
}

// serveCPU runs the vCPU until the machine is ended.
func (m *machine) serveCPU() error {
	runtime.LockOSThread() // KVM wants a vCPU to stay with its thread
	defer runtime.UnlockOSThread()
	for m.enter() {
		if err := m.drive(); err != nil {
			m.end(err)
		}
	}
	return m.failure
}

// enter waits until the vCPU may run, and reports false when it shall end.
func (m *machine) enter() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.parked = true
	m.changed.Broadcast()
	for !m.running && !m.ended {
		m.changed.Wait()
	}
	m.parked = false
	return !m.ended
}

// drive runs the vCPU until it shall park, and beats.
func (m *machine) drive() error {
	s := m.state // nobody else uses it until parked is set
	if err := m.cpu.set(s.Registers); err != nil {
		return err
	}
	b := beats{serial: m.serial, began: m.since, clock: s.Clock, sequence: s.Sequence, last: m.since}
	last := m.since
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

// run lets the guest run and returns since when.
func (m *machine) run() (time.Time, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.ended:
		return time.Time{}, errors.New("run the guest: it has ended")
	case m.running:
		return time.Time{}, errors.New("run the guest: it runs already")
	}
	m.awaitParked()
	m.running, m.since = true, time.Now()
	m.halt.Store(false)
	m.changed.Broadcast()
	m.told(event{Event: eventResume, At: m.since.UnixNano()})
	return m.since, nil
}

// stop stops the guest behind the page operation that it is in, which may have
// to wait for a page. It returns the state and, if the guest ran, when it
// stopped.
func (m *machine) stop() (State, time.Time, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	ran := m.running
	m.halt.Store(true)
	m.running = false
	m.awaitParked()
	if m.ended {
		return State{}, time.Time{}, fmt.Errorf("stop the guest: %w", errors.Join(errors.New("it has ended"), m.failure))
	}
	if !ran {
		return m.state, time.Time{}, nil
	}
	at := time.Now()
	m.told(event{Event: eventStop, At: at.UnixNano()})
	return m.state, at, nil
}

// awaitParked waits until the vCPU does not run. The caller holds mu.
func (m *machine) awaitParked() {
	for !m.parked && !m.ended {
		m.changed.Wait()
	}
}

// load replaces the state of a guest that does not run.
func (m *machine) load(s State) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.running || !m.parked {
		return errors.New("load a state: the guest runs")
	}
	m.state = s
	return nil
}

// verify checks the whole memory while the guest is stopped.
func (m *machine) verify() (Verdict, error) {
	s, at, err := m.stop()
	if err != nil {
		return Verdict{}, err
	}
	v := m.program.verify(m.memory, s.Registers)
	if !at.IsZero() {
		_, err = m.run()
	}
	return v, err
}

// isRunning reports whether the guest runs.
func (m *machine) isRunning() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.running
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
