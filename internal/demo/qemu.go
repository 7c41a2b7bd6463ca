package demo

import (
	"context"
	"errors"
	"fmt"
	"os/exec"

	vmguest "github.com/lazymig/lazymig/bench/guest"
	"github.com/lazymig/lazymig/bench/heartbeat"
	"github.com/lazymig/lazymig/bench/vm"
)

const (
	// qemuLeast is the smallest guest: Linux takes qemuSystem of it.
	qemuLeast  = 256 << 20
	qemuSystem = 160 << 20
)

// qemuGuest is a Linux guest under stock QEMU with an emulated processor.
type qemuGuest struct {
	from, to *vm.VM
	memory   uint64
}

// qemuHint says what a Linux guest takes.
const qemuHint = "as root: apt-get install qemu-system-x86 gcc libc6-dev busybox-static; or use --vmm microvm, which needs none of it"

func newQEMU(ctx context.Context, cfg Config, place *workplace, beats *heartbeat.Recorder) (guest, error) {
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		return nil, &Error{cause: err, text: "find QEMU", hint: qemuHint}
	}
	ctx, cancel := context.WithTimeout(ctx, bootTimeout)
	defer cancel()
	image, err := vmguest.Build(ctx)
	if err != nil {
		return nil, &Error{cause: err, text: "build the Linux guest", hint: qemuHint}
	}
	q := &qemuGuest{memory: cfg.Memory}
	config := vm.Config{
		Image: image, Name: guestName, Beats: beats, Dir: place.dir, RAMDir: place.memory,
		Guest: vmguest.Params{MemoryMiB: int((cfg.Memory - qemuSystem) >> 20)},
		RAM:   []vm.Backend{{MiB: int(cfg.Memory >> 20)}},
	}
	if q.from, err = vm.New(config); err == nil {
		q.to, err = vm.New(config)
	}
	if err != nil {
		return nil, errors.Join(err, q.close())
	}
	return q, nil
}

func (q *qemuGuest) about() (vmm VMM, guest string) {
	return QEMU, "one vCPU, Linux under stock QEMU"
}

func (q *qemuGuest) vcpu(context.Context, string) (string, error) { return "emulated by QEMU", nil }

func (q *qemuGuest) start(ctx context.Context) error {
	if err := q.from.Start(); err != nil {
		return err
	}
	_, err := q.from.Ready(ctx)
	return err
}

func (q *qemuGuest) monitor() []string { return []string{"--qmp", q.from.QMPPath()} }

func (q *qemuGuest) command() []string { return q.to.Args() }

func (q *qemuGuest) streams() (source, destination *heartbeat.Stream) {
	return q.from.Stream(), q.to.Stream()
}

func (q *qemuGuest) verify(ctx context.Context) (pages, wrong uint64, err error) {
	answer, err := q.to.Command(ctx, "verify")
	if err != nil {
		return 0, 0, err
	}
	pages, wrong = answer.Number("pages"), answer.Number("bad_pages")
	if answer.Status != "ok" && wrong == 0 {
		return pages, 0, fmt.Errorf("verify the guest: %s", answer)
	}
	return pages, wrong, nil
}

func (q *qemuGuest) close() error {
	var errs []error
	for _, v := range []*vm.VM{q.from, q.to} {
		if v != nil {
			errs = append(errs, v.Close())
		}
	}
	return errors.Join(errs...)
}
