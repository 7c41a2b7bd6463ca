package migrations

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/lazymig/lazymig/bench/host"
	"github.com/lazymig/lazymig/bench/vm"
	"github.com/lazymig/lazymig/internal/vmm/qmp"
)

// monitor is the harness's own connection to a QEMU.
type monitor struct {
	*qmp.Client
	events *qmp.Subscription
	pid    int
	// seen has the time stamp of the first event of each name, and of each
	// migration state as "MIGRATION/STATE".
	seen map[string]time.Time
}

// connect waits for the QEMU of a place and connects to it.
func connect(ctx context.Context, on host.Host, v *vm.VM) (*monitor, error) {
	pid, err := v.PID(ctx)
	if err != nil {
		return nil, err
	}
	path, err := on.Reach(v.MonitorPath())
	if err != nil {
		return nil, err
	}
	c, err := qmp.Dial(ctx, path)
	if err != nil {
		return nil, err
	}
	return &monitor{Client: c, events: c.Subscribe(maxEvents), pid: pid, seen: map[string]time.Time{}}, nil
}

// vcpus returns the threads that run the guest.
func (m *monitor) vcpus(ctx context.Context) ([]int, error) {
	var answer []struct {
		Thread int `json:"thread-id"`
	}
	if err := m.Execute(ctx, "query-cpus-fast", nil, &answer); err != nil {
		return nil, err
	}
	threads := make([]int, len(answer))
	for i, a := range answer {
		threads[i] = a.Thread
	}
	return threads, nil
}

// configure sets capabilities and parameters of a migration.
func (m *monitor) configure(ctx context.Context, capabilities []string, parameters map[string]any) error {
	states := []map[string]any{}
	for _, c := range capabilities {
		states = append(states, map[string]any{"capability": c, "state": true})
	}
	if err := m.Execute(ctx, "migrate-set-capabilities", map[string]any{"capabilities": states}, nil); err != nil {
		return err
	}
	return m.Execute(ctx, "migrate-set-parameters", parameters, nil)
}

// note keeps the time of an event.
func (m *monitor) note(e qmp.Event) {
	name := e.Name
	var data struct {
		Status string `json:"status"`
		Pass   int    `json:"pass"`
	}
	if len(e.Data) > 0 && json.Unmarshal(e.Data, &data) == nil {
		switch name {
		case "MIGRATION":
			name += "/" + data.Status
		case "MIGRATION_PASS":
			name += fmt.Sprintf("/%d", data.Pass)
		}
	}
	if _, ok := m.seen[name]; !ok {
		m.seen[name] = e.Timestamp
	}
}

// await returns when an event of one of the names has come, at once if it has
// been seen, and says which.
func (m *monitor) await(ctx context.Context, names ...string) (string, error) {
	for {
		for _, name := range names {
			if _, ok := m.seen[name]; ok {
				return name, nil
			}
		}
		select {
		case e, ok := <-m.events.Events():
			if !ok {
				return "", fmt.Errorf("wait for %s: %w", names[0], m.events.Err())
			}
			m.note(e)
		case <-ctx.Done():
			return "", fmt.Errorf("wait for %s: %w", names[0], context.Cause(ctx))
		}
	}
}

// drain takes the events that have come already.
func (m *monitor) drain() {
	for {
		select {
		case e, ok := <-m.events.Events():
			if !ok {
				return
			}
			m.note(e)
		default:
			return
		}
	}
}

// forget forgets what has been seen until now.
func (m *monitor) forget() {
	m.drain()
	clear(m.seen)
}
