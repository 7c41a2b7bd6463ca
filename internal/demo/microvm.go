package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/lazymig/lazymig/bench/heartbeat"
	"github.com/lazymig/lazymig/internal/vmm/microvm"
)

// microvmGuest is the built-in guest of lazymig's own VMM.
type microvmGuest struct {
	cfg    Config
	place  *workplace
	ports  map[string]*port
	exited chan struct{}
}

func newMicrovm(cfg Config, place *workplace, beats *heartbeat.Recorder) (guest, error) {
	m := &microvmGuest{cfg: cfg, place: place, ports: map[string]*port{}}
	for _, host := range []string{source, destination} { // in the order of the heartbeat
		p, err := listenPort(place.path(host+".serial"), beats.Stream())
		if err != nil {
			return nil, errors.Join(err, m.close())
		}
		m.ports[host] = p
	}
	return m, nil
}

func (m *microvmGuest) about() (vmm VMM, guest string) {
	return Microvm, "one vCPU, under lazymig's own small VMM"
}

func (m *microvmGuest) control(host string) string { return m.place.path(host + ".control") }

// args returns the command line of the VMM at a host, without the program.
func (m *microvmGuest) args(host string) []string {
	return []string{
		microvm.Command, "--name", guestName, "--ram", filepath.Join(m.place.memory, host+".ram"),
		"--size", strconv.FormatUint(m.cfg.Memory, 10), "--control", m.control(host), "--serial", m.place.path(host + ".serial"),
	}
}

func (m *microvmGuest) command() []string {
	return append([]string{m.cfg.Program}, m.args(destination)...)
}

func (m *microvmGuest) monitor() []string { return []string{"--microvm", m.control(source)} }

func (m *microvmGuest) streams() (from, to *heartbeat.Stream) {
	return m.ports[source].stream, m.ports[destination].stream
}

func (m *microvmGuest) start(ctx context.Context) error {
	logPath := m.place.path("microvm.log")
	log, err := os.Create(logPath)
	if err != nil {
		return fmt.Errorf("create the VMM's log: %w", err)
	}
	defer log.Close()
	cmd := exec.Command(m.cfg.Program, m.args(source)...)
	cmd.Args[0] = m.cfg.Name
	cmd.Env, cmd.Stdout, cmd.Stderr = m.place.environment(), log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the VMM: %w", err)
	}
	m.exited = make(chan struct{})
	go func() {
		defer close(m.exited)
		_ = cmd.Wait() // it is killed in the end
	}()
	return m.await(ctx, logPath)
}

// await waits until the guest beats.
func (m *microvmGuest) await(ctx context.Context, log string) error {
	waiting, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	go func() {
		select {
		case <-m.exited:
			said, _ := os.ReadFile(log)
			stop(fmt.Errorf("the VMM has ended: %s", bytes.TrimSpace(said)))
		case <-waiting.Done():
		}
	}()
	_, err := m.ports[source].stream.Wait(waiting, 1)
	return err
}

func (m *microvmGuest) vcpu(ctx context.Context, host string) (string, error) {
	status, err := microvm.Ask(ctx, m.control(host))
	if status.Accel == microvm.AccelKVM {
		return "KVM's", err
	}
	return "native code, without KVM", err
}

func (m *microvmGuest) verify(ctx context.Context) (pages, wrong uint64, err error) {
	v, err := microvm.Verify(ctx, m.control(destination))
	if err == nil && v.Errors > 0 {
		err = fmt.Errorf("the guest itself has met %d pages with wrong content", v.Errors)
	}
	return v.Pages, v.Wrong, err
}

// close ends the VMM of the source, if it was started. That of the destination
// ends with the workplace.
func (m *microvmGuest) close() error {
	var errs []error
	if m.exited != nil {
		errs = append(errs, killMarked(m.place.name))
		<-m.exited
	}
	for _, p := range m.ports {
		errs = append(errs, p.close())
	}
	return errors.Join(errs...)
}
