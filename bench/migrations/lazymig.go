package migrations

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/lazymig/lazymig/bench/link"
	"github.com/lazymig/lazymig/bench/vm"
	"github.com/lazymig/lazymig/internal/migrate"
	"github.com/lazymig/lazymig/quictransport"
)

// ownPort is where lazymig receive listens.
const ownPort = "7007"

// own moves a guest with the commands that a user types.
type own struct {
	program       string
	dir           string // for identities and state
	link          *link.Link
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
	host := o.place.Side()
	args := append([]string{"receive", "--json", "--listen", host.Address() + ":" + ownPort}, o.sideArgs(host)...)
	var err error
	if o.receive, err = o.start(ctx, host, append(append(args, "--"), o.place.Args()...)); err != nil {
		return nil, err
	}
	return nil, o.receive.listens(ctx)
}

func (o *own) sideArgs(host link.Side) []string {
	return []string{"--state-dir", o.path("state", host), "--tls-dir", o.path("tls", host)}
}

func (o *own) path(kind string, host link.Side) string {
	return filepath.Join(o.dir, kind+"-"+string(host))
}

// identify makes a CA and gives each host what it needs of it.
func (o *own) identify() error {
	ca := filepath.Join(o.dir, "ca")
	if err := quictransport.CreateCA(ca); err != nil {
		return err
	}
	for _, host := range []link.Side{link.HostA, link.HostB} {
		name := "host-" + string(host)
		err := errors.Join(quictransport.Issue(ca, name, certificateDays), os.Mkdir(o.path("tls", host), 0o700))
		for _, file := range []string{"ca.crt", "domain.key", name + ".crt", name + ".key"} {
			err = errors.Join(err, os.Link(filepath.Join(ca, file), filepath.Join(o.path("tls", host), file)))
		}
		if err != nil {
			return fmt.Errorf("make the identity of host %s: %w", host, err)
		}
	}
	return nil
}

// move returns when the source is free.
func (o *own) move(ctx context.Context) error {
	host := o.source.Side()
	args := append([]string{"send", "--json", "--qmp", o.source.QMPPath(), "--to", o.place.Side().Address() + ":" + ownPort}, o.sideArgs(host)...)
	var err error
	if o.send, err = o.start(ctx, host, args); err != nil {
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
		case <-o.receive.ended:
			cancel(errors.New("lazymig receive has ended"))
		case <-o.send.ended:
			cancel(errors.New("lazymig send has ended"))
		case <-over:
		}
	}()
	m, err := connect(ctx, o.place)
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
			_ = c.cmd.Process.Kill() // it has ended if all went well
			<-c.ended
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
		left, _ := filepath.Glob(ram + ".lazymig-*") // the pattern is valid
		for _, path := range left {
			problems = append(problems, os.Remove(path))
		}
	}
	return errors.Join(problems...)
}
