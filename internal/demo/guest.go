package demo

import (
	"context"

	"github.com/lazymig/lazymig/bench/heartbeat"
)

// guest is the VM that moves: a process at the source, and the place and the
// command line for one at the destination. Its VMM is the microvm or QEMU.
type guest interface {
	// about names the VMM, and describes the guest in some words.
	about() (vmm VMM, guest string)
	// start runs the guest at the source. It returns when it beats.
	start(ctx context.Context) error
	// vcpu describes what runs the guest's vCPU at a host where it has run.
	vcpu(ctx context.Context, host string) (string, error)
	// monitor returns the arguments by which `lazymig send` finds the guest.
	monitor() []string
	// command returns the VMM's command line at the destination.
	command() []string
	// streams returns the parts of the heartbeat.
	streams() (source, destination *heartbeat.Stream)
	// verify has the guest check its memory at the destination: how many pages
	// it read and how many of them were wrong.
	verify(ctx context.Context) (pages, wrong uint64, err error)
	// close ends the guest wherever it runs.
	close() error
}

// newGuest makes places for a guest of the configured kind. Nothing runs yet.
func newGuest(ctx context.Context, cfg Config, place *workplace, beats *heartbeat.Recorder) (guest, error) {
	if cfg.VMM == QEMU {
		return newQEMU(ctx, cfg, place, beats)
	}
	return newMicrovm(cfg, place, beats)
}
