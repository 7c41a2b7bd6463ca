package qemu

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/lazymig/lazymig/internal/vmm/qmp"
)

// wanted are the migration capabilities of a destination, each with the QEMU
// version that has it and with what would happen without it.
var wanted = []struct{ name, since, without string }{
	{"x-ignore-shared", "4.0", "guest RAM would travel in QEMU's own stream"},
	{"late-block-activate", "3.0", "the destination would lock the disks before the switch is decided"},
	{"events", "2.4", "the end of the load could not be noticed"},
}

// settings are QEMU's migration settings.
type settings struct {
	capabilities   map[string]bool
	announceRounds *int
}

// configure turns on what a destination needs, and remembers what was on.
func (i *Incoming) configure(ctx context.Context) error {
	have, err := readSettings(ctx, i.client)
	if err != nil {
		return i.explain(err)
	}
	if have.announceRounds == nil {
		return errors.New("this QEMU has no migration parameter announce-rounds (it would announce the guest before the switch is decided): use QEMU 4.0 or newer")
	}
	rounds := max(*have.announceRounds, 1) // see announceTail
	change := settings{capabilities: make(map[string]bool), announceRounds: &rounds}
	previous := settings{capabilities: make(map[string]bool), announceRounds: have.announceRounds}
	for _, w := range wanted {
		state, ok := have.capabilities[w.name]
		if !ok {
			return fmt.Errorf("this QEMU has no migration capability %s (%s): use QEMU %s or newer", w.name, w.without, w.since)
		}
		change.capabilities[w.name], previous.capabilities[w.name] = true, state
	}
	i.previous = previous
	return i.explain(change.apply(ctx, i.client))
}

func readSettings(ctx context.Context, client *qmp.Client) (settings, error) {
	states, err := queries{client}.capabilities(ctx)
	if err != nil {
		return settings{}, err
	}
	parameters, err := ask[struct {
		Rounds *int `json:"announce-rounds"`
	}](ctx, queries{client}, "query-migrate-parameters", nil)
	return settings{states, parameters.Rounds}, err
}

// apply sets what the settings name.
func (s settings) apply(ctx context.Context, client *qmp.Client) error {
	type capability struct {
		Name  string `json:"capability"`
		State bool   `json:"state"`
	}
	var list []capability
	for name, state := range s.capabilities {
		list = append(list, capability{name, state})
	}
	slices.SortFunc(list, func(a, b capability) int { return cmp.Compare(a.Name, b.Name) })
	if err := client.Execute(ctx, "migrate-set-capabilities", map[string]any{"capabilities": list}, nil); err != nil {
		return err
	}
	return client.Execute(ctx, "migrate-set-parameters", map[string]any{"announce-rounds": s.announceRounds}, nil)
}

// settle puts the settings back when the guest has arrived: with
// x-ignore-shared left on, the next migration by somebody else would leave out
// the guest's RAM.
func (i *Incoming) settle() error {
	if i.previous.announceRounds == nil || !i.events.hasLoaded() || i.process.HasExited() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), settleTimeout)
	defer cancel()
	if err := i.previous.apply(ctx, i.client); err != nil {
		return fmt.Errorf("put QEMU's migration settings back: %w", err)
	}
	return nil
}
