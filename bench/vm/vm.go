package vm

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/lazymig/lazymig/bench/heartbeat"
	"github.com/lazymig/lazymig/bench/host"
	"github.com/lazymig/lazymig/bench/leftover"
	"github.com/lazymig/lazymig/bench/link"
)

// errEnded is what waits for a guest end with when its VMM is gone.
var errEnded = errors.New("its VMM has ended")

// VM is one QEMU process that runs the guest, or a place for it.
type VM struct {
	config Config
	name   string // unique
	dir    string // sockets and log
	beats  *heartbeat.Stream

	control *port
	beat    *port
	console *console

	process *host.Process // what Start started
	told    chan struct{} // closed when the console knows that it has ended

	closing sync.Once
	closed  error
}

// New prepares the place for a QEMU: its sockets, on which the harness listens
// from now on, and its command line. Close removes it.
func New(config Config) (*VM, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	v := &VM{config: config, name: leftover.Name("vm"), console: newConsole(), beats: config.Beats.Stream()}
	v.dir = filepath.Join(config.Dir, v.name)
	if err := config.Host.Mkdir(v.dir); err != nil {
		return nil, fmt.Errorf("create the folder of a VM: %w", err)
	}
	if v.control, err = listen(config.Host, v.path("control"), v.console.serve); err != nil {
		return nil, errors.Join(err, v.Close())
	}
	if v.beat, err = listen(config.Host, v.path("beat"), v.beats.Serve); err != nil {
		return nil, errors.Join(err, v.Close())
	}
	return v, nil
}

// Start starts QEMU on the VM's host, with extra options behind those of Args.
// It runs until the guest powers off, or Close.
func (v *VM) Start(extra ...string) error {
	process, err := v.config.Host.Start(host.Command{Args: append(v.Args(), extra...), Log: v.LogPath()})
	if err != nil {
		return fmt.Errorf("start QEMU: %w", err)
	}
	v.process, v.told = process, make(chan struct{})
	go v.serveExit()
	return nil
}

func (v *VM) serveExit() {
	defer close(v.told)
	<-v.process.Ended()
	err := v.process.Err()
	if err != nil {
		err = fmt.Errorf("run QEMU: %w", err)
	}
	v.console.end(errors.Join(errEnded, err))
}

// Exited is closed when the QEMU that Start started has ended; it is nil
// before Start.
func (v *VM) Exited() <-chan struct{} {
	if v.process == nil {
		return nil
	}
	return v.process.Ended()
}

// PID waits until a QEMU has connected to the VM's first serial port and
// returns its process, whoever started it.
func (v *VM) PID(ctx context.Context) (int, error) {
	select {
	case <-v.control.connected:
		return v.control.conn.PID(), nil
	case <-v.console.ended:
		return 0, fmt.Errorf("wait for QEMU to connect: %w", v.console.err)
	case <-ctx.Done():
		return 0, fmt.Errorf("wait for QEMU to connect: %w", context.Cause(ctx))
	}
}

// Side returns the host of the VM.
func (v *VM) Side() link.Side { return v.config.Side }

// Stream returns the part of the heartbeat that this VM brings.
func (v *VM) Stream() *heartbeat.Stream { return v.beats }

// Log returns the end of what QEMU (if Start started it) and the guest's
// kernel said.
func (v *VM) Log() string {
	return v.config.Host.Tail(v.LogPath(), maxLog) + v.console.text()
}

// PowerOff ends the guest in an orderly way and waits until its QEMU is gone.
func (v *VM) PowerOff(ctx context.Context) error {
	if _, err := v.Command(ctx, "poweroff"); err != nil {
		return err
	}
	return v.control.conn.Wait(exitTimeout)
}

// Close kills the QEMU that runs here, whoever started it, and removes its
// sockets and the RAM files that the command line names. It is safe to call
// more than once.
func (v *VM) Close() error {
	v.closing.Do(func() { v.closed = v.remove() })
	return v.closed
}

func (v *VM) remove() error {
	var problems []error
	for _, p := range []*port{v.control, v.beat} {
		if p != nil {
			problems = append(problems, p.close())
		}
	}
	if v.process != nil {
		v.process.Kill() // it may never have connected
		<-v.told
	}
	for _, path := range append(v.RAMFiles(), v.dir) {
		if err := v.config.Host.Remove(path); err != nil {
			problems = append(problems, fmt.Errorf("remove what the VM had: %w", err))
		}
	}
	return errors.Join(problems...)
}
