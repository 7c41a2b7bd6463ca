package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/lazymig/lazymig/bench/heartbeat"
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

	process *os.Process   // what Start started
	exited  chan struct{} // closed when it has ended
	waited  error         // how it ended, set before exited is closed

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
	if err := os.Mkdir(v.dir, 0o755); err != nil {
		return nil, fmt.Errorf("create the folder of a VM: %w", err)
	}
	if v.control, err = listen(v.path("control"), v.console.serve); err != nil {
		return nil, errors.Join(err, v.Close())
	}
	if v.beat, err = listen(v.path("beat"), v.beats.Serve); err != nil {
		return nil, errors.Join(err, v.Close())
	}
	return v, nil
}

// Start starts QEMU on the VM's host, with extra options behind those of Args.
// It runs until the guest powers off, or Close.
func (v *VM) Start(extra ...string) error {
	log, err := os.Create(v.LogPath())
	if err != nil {
		return fmt.Errorf("create QEMU's log: %w", err)
	}
	defer log.Close()
	args := append(v.Args(), extra...)
	cmd := exec.Command(args[0], args[1:]...)
	if v.config.Link != nil {
		cmd = v.config.Link.Command(context.Background(), v.config.Side, args[0], args[1:]...)
	}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start QEMU: %w", err)
	}
	v.process, v.exited = cmd.Process, make(chan struct{})
	go v.serveExit(cmd)
	return nil
}

func (v *VM) serveExit(cmd *exec.Cmd) {
	defer close(v.exited)
	if err := cmd.Wait(); err != nil {
		v.waited = fmt.Errorf("run QEMU: %w", err)
	}
	v.console.end(errors.Join(errEnded, v.waited))
}

// Exited is closed when the QEMU that Start started has ended; it is nil
// before Start.
func (v *VM) Exited() <-chan struct{} { return v.exited }

// PID waits until a QEMU has connected to the VM's first serial port and
// returns its process, whoever started it.
func (v *VM) PID(ctx context.Context) (int, error) {
	select {
	case <-v.control.connected:
		return v.control.pid, nil
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
	text, _ := os.ReadFile(v.LogPath())
	return string(text[max(0, len(text)-maxLog):]) + v.console.text()
}

// PowerOff ends the guest in an orderly way and waits until its QEMU is gone.
func (v *VM) PowerOff(ctx context.Context) error {
	if _, err := v.Command(ctx, "poweroff"); err != nil {
		return err
	}
	return v.control.wait(exitTimeout)
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
		_ = v.process.Kill() // it may never have connected
		<-v.exited
	}
	for _, path := range v.RAMFiles() {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			problems = append(problems, fmt.Errorf("remove a RAM file: %w", err))
		}
	}
	return errors.Join(append(problems, os.RemoveAll(v.dir))...)
}
