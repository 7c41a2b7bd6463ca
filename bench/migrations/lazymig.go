package migrations

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/lazymig/lazymig/bench/link"
	"github.com/lazymig/lazymig/bench/vm"
	"github.com/lazymig/lazymig/internal/migrate"
	"github.com/lazymig/lazymig/quictransport"
)

// OwnPort is the UDP port where lazymig receive listens.
const OwnPort = "7007"

// own moves a guest with the commands that a user types.
type own struct {
	dir           string // of this machine
	cache         Cache
	before        bool // it is a move before the measured one
	ends          map[link.Side]end
	source, place *vm.VM
	// arrived is called when the destination's QEMU runs.
	arrived       func(*monitor) error
	receive, send *command
	destination   *monitor
}

// prepare starts lazymig receive. The destination's QEMU does not run yet, so
// there is no monitor.
func (o *own) prepare(ctx context.Context) (*monitor, error) {
	if err := o.identify(); err != nil {
		return nil, err
	}
	to := o.ends[o.place.Side()]
	_, cache := o.cache.args(to, o.before)
	args := append([]string{"receive", "--json", "--listen", net.JoinHostPort(to.host.Address(), OwnPort)}, append(to.args(), cache...)...)
	var err error
	if o.receive, err = to.start(append(append(args, "--"), o.place.Args()...)); err != nil {
		return nil, err
	}
	return nil, o.receive.listens(ctx)
}

// args names the folders of a host for send and receive.
func (e end) args() []string {
	return []string{"--state-dir", filepath.Join(e.dir, "state"), "--tls-dir", filepath.Join(e.dir, "tls")}
}

// identify makes a CA and gives each host what it needs of it, once.
func (o *own) identify() error {
	ca := filepath.Join(o.dir, "ca")
	if _, err := os.Stat(ca); err == nil {
		return nil
	}
	if err := quictransport.CreateCA(ca); err != nil {
		return err
	}
	for side, to := range o.ends {
		name := "host-" + string(side)
		if err := errors.Join(quictransport.Issue(ca, name, certificateDays), to.identify(ca, name)); err != nil {
			return fmt.Errorf("make the identity of host %s: %w", side, err)
		}
	}
	return nil
}

// identify copies an identity to a host.
func (e end) identify(ca, name string) error {
	tls := filepath.Join(e.dir, "tls")
	if err := errors.Join(e.host.Mkdir(e.dir), e.host.Mkdir(tls)); err != nil {
		return err
	}
	for _, file := range []string{"ca.crt", "domain.key", name + ".crt", name + ".key"} {
		content, err := os.ReadFile(filepath.Join(ca, file))
		if err == nil {
			err = e.host.Write(filepath.Join(tls, file), content, 0o600)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// move returns when the source is free.
func (o *own) move(ctx context.Context) error {
	from, to := o.ends[o.source.Side()], o.ends[o.place.Side()]
	cache, _ := o.cache.args(from, o.before)
	args := append([]string{"send", "--json", "--qmp", o.source.QMPPath(), "--to", net.JoinHostPort(to.host.Address(), OwnPort)}, append(from.args(), cache...)...)
	var err error
	if o.send, err = from.start(args); err != nil {
		return err
	}
	if o.destination, err = o.connect(ctx); err != nil {
		return errors.Join(err, o.send.failure(), o.receive.failure())
	}
	return o.send.wait(ctx)
}

// connect waits for the destination's QEMU, or the end of a command.
func (o *own) connect(ctx context.Context) (*monitor, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watched := make(chan struct{})
	defer func() { <-watched }()
	over := make(chan struct{})
	defer close(over)
	go func() {
		defer close(watched)
		select {
		case <-o.receive.process.Ended():
			cancel(errors.New("lazymig receive has ended"))
		case <-o.send.process.Ended():
			cancel(errors.New("lazymig send has ended"))
		case <-over:
		}
	}()
	m, err := connect(ctx, o.ends[o.place.Side()].host, o.place)
	if err == nil {
		err = o.arrived(m)
	}
	return m, err
}

// finish waits for the end of the destination's command and returns its report.
func (o *own) finish(ctx context.Context) (*migrate.Report, error) {
	err := o.receive.wait(ctx)
	o.receive.mu.Lock()
	defer o.receive.mu.Unlock()
	if err == nil && o.receive.report == nil {
		err = errors.New("lazymig receive has not reported its move")
	}
	return o.receive.report, err
}

// close ends what still runs and removes the RAM file that receive made.
func (o *own) close() error {
	for _, c := range []*command{o.send, o.receive} {
		if c != nil {
			c.process.Kill() // it has ended if all went well
		}
	}
	var problems []error
	if o.destination != nil {
		problems = append(problems, o.destination.Close())
	}
	return errors.Join(problems...)
}

// removeRAM removes the RAM files that receive made for a guest that has ended.
func (o *own) removeRAM() error {
	var problems []error
	for _, ram := range o.place.RAMFiles() {
		problems = append(problems, o.ends[o.place.Side()].host.Remove(ram+".lazymig-*"))
	}
	return errors.Join(problems...)
}
