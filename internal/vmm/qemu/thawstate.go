package qemu

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
)

// ThawState is what a process needs to know to take a capture back that
// another process began. It travels as JSON.
type ThawState struct {
	// QMPPath is the path of the monitor's socket.
	QMPPath string `json:"qmp_path"`
	// PID and Started (in clock ticks since boot) name the VMM's process.
	PID     int    `json:"pid"`
	Started uint64 `json:"started"`
	// WasRunning says whether the guest ran at Attach, or later at Prepare.
	WasRunning bool `json:"was_running"`
	// Capabilities and Parameters hold the old values of the migration
	// settings that Prepare changed.
	Capabilities map[string]bool   `json:"capabilities,omitempty"`
	Parameters   map[string]string `json:"parameters,omitempty"`
}

// captureCapabilities are on during a capture; all others are off, as most of
// them change what is in the stream.
var captureCapabilities = []string{"events", "pause-before-switchover", "x-ignore-shared"}

// captureParameters are the values that a capture needs of parameters which
// would change what is in the stream, or make it an encrypted one.
var captureParameters = map[string]string{"tls-creds": "", "mode": "normal"}

// capability is one entry of migrate-set-capabilities.
type capability struct {
	Name  string `json:"capability"`
	State bool   `json:"state"`
}

// Prepare does everything that needs no stopped guest: it remembers whether
// the guest runs and changes QEMU's migration settings. Whatever comes after
// it ends with Thaw or Kill.
func (g *Guest) Prepare(ctx context.Context) error {
	if g.prepared {
		return errors.New("prepare the guest: it is prepared already, call Thaw first")
	}
	if err := g.readSettings(ctx); err != nil {
		return fmt.Errorf("prepare the guest: %w", g.explain(err))
	}
	g.prepared = true
	if err := g.changeSettings(ctx); err != nil {
		return errors.Join(fmt.Errorf("prepare the guest: %w", g.explain(err)), g.restoreSettings(ctx))
	}
	return nil
}

// readSettings notes what has to be put back.
func (g *Guest) readSettings(ctx context.Context) error {
	q := queries{g.monitor}
	status, err := q.status(ctx)
	if err != nil {
		return err
	}
	capabilities, err := q.capabilities(ctx)
	if err != nil {
		return err
	}
	parameters, err := q.textParameters(ctx)
	if err != nil {
		return err
	}
	g.state.WasRunning = status.Running
	g.state.Capabilities, g.state.Parameters = make(map[string]bool), make(map[string]string)
	g.missing = missingCapabilities(capabilities)
	for name, on := range capabilities {
		if on != slices.Contains(captureCapabilities, name) {
			g.state.Capabilities[name] = on
		}
	}
	for name, want := range captureParameters {
		if have, ok := parameters[name]; ok && have != want {
			g.state.Parameters[name] = have
		}
	}
	return nil
}

// missingCapabilities lists what a capture needs and QEMU does not have.
func missingCapabilities(have map[string]bool) []string {
	var missing []string
	for _, name := range captureCapabilities {
		if _, ok := have[name]; !ok {
			missing = append(missing, name)
		}
	}
	return missing
}

func (g *Guest) changeSettings(ctx context.Context) error {
	if len(g.missing) > 0 {
		return fmt.Errorf("this QEMU has no migration capability %s: use QEMU 4.0 or newer", list(g.missing))
	}
	capabilities := make(map[string]bool, len(g.state.Capabilities))
	for name, old := range g.state.Capabilities {
		capabilities[name] = !old
	}
	parameters := make(map[string]string, len(g.state.Parameters))
	for name := range g.state.Parameters {
		parameters[name] = captureParameters[name]
	}
	return g.applySettings(ctx, capabilities, parameters)
}

// restoreSettings puts back what Prepare changed.
func (g *Guest) restoreSettings(ctx context.Context) error {
	if !g.prepared {
		return nil
	}
	if err := g.applySettings(ctx, g.state.Capabilities, g.state.Parameters); err != nil {
		return fmt.Errorf("put QEMU's migration settings back: %w", g.explain(err))
	}
	g.prepared = false
	return nil
}

func (g *Guest) applySettings(ctx context.Context, capabilities map[string]bool, parameters map[string]string) error {
	list := make([]capability, 0, len(capabilities))
	for name, on := range capabilities {
		list = append(list, capability{name, on})
	}
	slices.SortFunc(list, func(a, b capability) int { return cmp.Compare(a.Name, b.Name) })
	if len(list) > 0 {
		args := map[string]any{"capabilities": list}
		if err := g.monitor.Execute(ctx, "migrate-set-capabilities", args, nil); err != nil {
			return err
		}
	}
	if len(parameters) > 0 {
		return g.monitor.Execute(ctx, "migrate-set-parameters", parameters, nil)
	}
	return nil
}

// textParameters returns the migration parameters whose values are text.
func (q queries) textParameters(ctx context.Context) (map[string]string, error) {
	all, err := ask[map[string]any](ctx, q, "query-migrate-parameters", nil)
	parameters := make(map[string]string)
	for name, value := range all {
		if text, ok := value.(string); ok {
			parameters[name] = text
		}
	}
	return parameters, err
}
