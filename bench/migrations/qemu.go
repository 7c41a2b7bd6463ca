package migrations

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/lazymig/lazymig/bench/host"
	"github.com/lazymig/lazymig/bench/vm"
)

// PeerPort is the TCP port where the destination's QEMU listens.
const PeerPort = "7008"

// peer moves a guest by QEMU's own means.
type peer struct {
	technique   Technique
	source      *monitor
	from, place *vm.VM
	host        host.Host // of the place
	destination *monitor
	credentials *credentials // nil without TLS
}

// prepare starts the destination's QEMU and has it listen. It resumes the guest
// by itself, as soon as it can.
func (p *peer) prepare(ctx context.Context) (*monitor, error) {
	if err := p.share(); err != nil {
		return nil, err
	}
	if err := p.place.Start(append([]string{"-incoming", "defer"}, p.credentials.server()...)...); err != nil {
		return nil, err
	}
	m, err := connect(ctx, p.host, p.place)
	if err != nil {
		return nil, errors.Join(err, fmt.Errorf("start the destination: %s", p.place.Log()))
	}
	p.destination = m
	for _, side := range []*monitor{p.source, m} {
		if err := side.configure(ctx, p.technique.capabilities(), p.technique.parameters()); err != nil {
			return m, err
		}
	}
	if err := p.credentials.use(ctx, p.source, m); err != nil {
		return m, err
	}
	return m, m.Execute(ctx, "migrate-incoming", map[string]string{"uri": p.uri()}, nil)
}

// share gives the source's RAM files the names of the destination's, so that
// both QEMUs map the same memory, if that is the technique.
func (p *peer) share() error {
	if p.technique != Present {
		return nil
	}
	to := p.place.RAMFiles()
	for i, name := range p.from.RAMFiles() {
		if err := os.Link(name, to[i]); err != nil {
			return fmt.Errorf("give the guest's RAM file a second name: %w", err)
		}
	}
	return nil
}

func (p *peer) uri() string { return "tcp:" + net.JoinHostPort(p.host.Address(), PeerPort) }

// move returns when the source is free.
func (p *peer) move(ctx context.Context) error {
	if err := p.source.Execute(ctx, "migrate", map[string]string{"uri": p.uri()}, nil); err != nil {
		return err
	}
	if err := p.switchOver(ctx); err != nil {
		return err
	}
	if err := p.ends(ctx, p.source, "MIGRATION/completed"); err != nil {
		return fmt.Errorf("move the guest: %w", err)
	}
	return nil
}

// switchOver has the guest switch when its technique wants it.
func (p *peer) switchOver(ctx context.Context) error {
	if !p.technique.postCopy() {
		return nil
	}
	when := "MIGRATION/active"
	if p.technique == PreThenPost {
		when = "MIGRATION_PASS/2" // all pages were sent once
	}
	if err := p.ends(ctx, p.source, when); err != nil {
		return fmt.Errorf("wait for the time of the switch: %w", err)
	}
	if _, completed := p.source.seen["MIGRATION/completed"]; completed {
		return nil // pre-copy was enough
	}
	return p.source.Execute(ctx, "migrate-start-postcopy", nil, nil)
}

// ends waits for an event, or for one that says that it will not come.
func (p *peer) ends(ctx context.Context, m *monitor, event string) error {
	const failed, paused, cancelled, completed = "MIGRATION/failed", "MIGRATION/postcopy-paused", "MIGRATION/cancelled", "MIGRATION/completed"
	name, err := m.await(ctx, event, completed, failed, paused, cancelled)
	if err == nil && name != event && name != completed {
		err = fmt.Errorf("QEMU says %s", name)
	}
	return err
}

// close has nothing to do: the places end their QEMUs.
func (p *peer) close() error {
	if p.destination == nil {
		return nil
	}
	return p.destination.Close()
}
