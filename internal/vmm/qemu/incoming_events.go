package qemu

import (
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/lazymig/lazymig/internal/vmm"
	"github.com/lazymig/lazymig/internal/vmm/process"

	"github.com/lazymig/lazymig/internal/vmm/qmp"
)

// eventLog is what QEMU's events have told so far.
type eventLog struct {
	log     string        // path of QEMU's log
	loaded  chan error    // gets one value: how the load ended
	resumed chan struct{} // closed at the first RESUME
	ran     time.Time     // of it, by QEMU's clock; set before

	// mu protects what follows.
	mu       sync.Mutex
	ended    bool // loaded has its value
	success  bool // that value is nil
	expected bool // Run was called: RESUME is its work
	stray    bool // RESUME came before that
	shutdown string
}

func newEventLog(log string) *eventLog {
	return &eventLog{log: log, loaded: make(chan error, 1), resumed: make(chan struct{})}
}

// serveEvents follows QEMU's events until QEMU has ended or Detach was called.
func (i *Incoming) serveEvents(subscription *qmp.Subscription) {
	defer close(i.served)
	events := subscription.Events()
	var lost <-chan time.Time
	for {
		select {
		case e, ok := <-events:
			if ok {
				i.events.note(e)
				continue
			}
			// Most often QEMU is just ending; its log says more then.
			events, lost = nil, time.After(drainTimeout)
		case <-lost:
			i.events.finishLoad(fmt.Errorf("load the device state: the monitor is lost: %w", subscription.Err()))
		case <-i.process.Exited():
			i.events.drain(events)
			i.events.finishLoad(fmt.Errorf("load the device state: QEMU has ended; %s", process.LogTail(i.events.log)))
			close(i.exited)
			return
		case <-i.detached:
			return
		}
	}
}

// drain notes what a QEMU that has ended said last.
func (l *eventLog) drain(events <-chan qmp.Event) {
	timeout := time.After(drainTimeout)
	for events != nil {
		select {
		case e, ok := <-events:
			if !ok {
				return
			}
			l.note(e)
		case <-timeout:
			return
		}
	}
}

func (l *eventLog) note(e qmp.Event) {
	switch e.Name {
	case "RESUME":
		l.noteResume(e.Timestamp)
	case "SHUTDOWN":
		var data struct{ Reason string }
		if json.Unmarshal(e.Data, &data) != nil || data.Reason == "" {
			data.Reason = "unknown"
		}
		l.mu.Lock()
		l.shutdown = data.Reason
		l.mu.Unlock()
	case "MIGRATION":
		var data struct{ Status string }
		if json.Unmarshal(e.Data, &data) == nil {
			l.noteMigration(data.Status)
		}
	}
}

func (l *eventLog) noteResume(at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stray = l.stray || !l.expected
	select {
	case <-l.resumed:
	default:
		l.ran = at
		close(l.resumed)
	}
}

func (l *eventLog) noteMigration(status string) {
	switch status {
	case "completed":
		if l.isStray() {
			l.finishLoad(fmt.Errorf("load the device state: %w", vmm.ErrResumedBySomeone))
			return
		}
		l.finishLoad(nil)
	case "failed", "cancelled":
		l.finishLoad(fmt.Errorf("load the device state: it %s; %s", status, process.LogTail(l.log)))
	}
}

// finishLoad reports how the load ended, once.
func (l *eventLog) finishLoad(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ended {
		l.ended, l.success = true, err == nil
		l.loaded <- err
	}
}

func (l *eventLog) hasLoaded() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.success
}

func (l *eventLog) isStray() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stray
}

func (l *eventLog) expectResume() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expected = true
}

func (l *eventLog) hasResumed() bool {
	select {
	case <-l.resumed:
		return true
	default:
		return false
	}
}

// Exited is closed when QEMU has ended and all that its monitor said was read.
func (i *Incoming) Exited() <-chan struct{} { return i.exited }

// Resumed is closed when the guest has begun to run, whoever told it to. Before
// the switch is decided that is an error of somebody else at QEMU's monitor:
// kill QEMU.
func (i *Incoming) Resumed() <-chan struct{} { return i.events.resumed }

// ResumedAt is when the guest began to run, by QEMU's clock; zero if it has
// not.
func (i *Incoming) ResumedAt() time.Time {
	if !i.events.hasResumed() {
		return time.Time{}
	}
	return i.events.ran
}

// Shutdown tells how QEMU came to its end. powerOff is true if the guest was
// shut down in order: by itself, or by somebody who told QEMU to (reason is
// QEMU's word for it, such as "guest-shutdown"). It is false if the guest
// panicked, or QEMU failed or was killed; then the guest was lost.
func (i *Incoming) Shutdown() (reason string, powerOff bool) {
	i.events.mu.Lock()
	reason = i.events.shutdown
	i.events.mu.Unlock()
	switch reason {
	case "":
		return i.exitState(), false
	case "unknown", "host-error", "guest-panic":
		return reason, false
	}
	return reason, true
}

// exitState says how the process ended, as far as its parent can tell.
func (i *Incoming) exitState() string {
	if i.process == nil || i.process.Child == nil || !i.process.HasExited() {
		return ""
	}
	return i.process.Child.ProcessState.String()
}
