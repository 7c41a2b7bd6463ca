package demo

import (
	"fmt"
	"os"
	"time"

	"github.com/lazymig/lazymig/internal/relay"
)

// VMM names what runs the guest.
type VMM string

// The VMMs.
const (
	// Auto takes the microvm.
	Auto VMM = "auto"
	// Microvm is the VMM of lazymig itself.
	Microvm VMM = "microvm"
	// QEMU is stock QEMU with an emulated processor and a Linux guest.
	QEMU VMM = "qemu"
)

// Config says what to show. Zero values take the default that their comment
// names.
type Config struct {
	// VMM runs the guest. Default Auto, which is the microvm.
	VMM VMM
	// Memory is the guest's RAM in bytes, whole MiB. Default DefaultMemory.
	Memory uint64
	// Rate is that of the link, in bytes per second. Default DefaultRate.
	Rate uint64
	// RTT is the round trip that the link takes, at most 2 × relay.MaxDelay.
	// There is no default: 0 is a round trip without delay.
	RTT time.Duration
	// BreakLink cuts the link for that long in the middle of the drain. 0: it
	// stays whole.
	BreakLink time.Duration
	// Measure is how long the guest's speed is measured before the move and
	// after it. Default: a second and a half.
	Measure time.Duration
	// Program is lazymig itself, Name what it is called by. Default: this
	// process's.
	Program, Name string
	// Report is called for each event, one at a time, by one goroutine.
	Report func(Event)
	// LogDir gets the logs of both sides when the run fails. Default: they are
	// removed like everything else.
	LogDir string

	// shm is where the guest's memory is. Default /dev/shm.
	shm string
}

// validated returns a copy that can work, as far as the configuration tells.
func (c Config) validated() (Config, error) {
	if c.VMM == "" {
		c.VMM = Auto
	}
	if c.Memory == 0 {
		c.Memory = DefaultMemory
	}
	if c.Rate == 0 {
		c.Rate = DefaultRate
	}
	if c.Measure == 0 {
		c.Measure = measureTime
	}
	if c.Report == nil {
		c.Report = func(Event) {}
	}
	if c.shm == "" {
		c.shm = "/dev/shm"
	}
	if c.Program == "" {
		program, err := os.Executable()
		if err != nil {
			return c, fmt.Errorf("find this program: %w", err)
		}
		c.Program, c.Name = program, os.Args[0]
	}
	return c, c.check()
}

func (c Config) check() error {
	invalid := func(hint, format string, args ...any) error {
		return &Error{kind: ErrConfig, text: fmt.Sprintf(format, args...), hint: hint}
	}
	least := c.leastMemory()
	switch {
	case c.VMM != Auto && c.VMM != Microvm && c.VMM != QEMU:
		return invalid("use auto, microvm or qemu", "invalid VMM %q", c.VMM)
	case c.Memory < least:
		return invalid(fmt.Sprintf("give it %d MiB or more", least>>20), "a guest of %s is too small", mib(c.Memory))
	case c.Memory > MaxMemory:
		return invalid(fmt.Sprintf("give it %d MiB or less", MaxMemory>>20), "a guest of %s is too large for a demonstration", mib(c.Memory))
	case c.Memory%(1<<20) != 0:
		return invalid("use whole MiB, such as 128MiB", "a guest of %d bytes", c.Memory)
	case c.Rate < relay.MinRate:
		return invalid("give it 8Mbit or more", "a link of %d bytes per second is too slow", c.Rate)
	case c.RTT < 0 || c.RTT > 2*relay.MaxDelay:
		return invalid(fmt.Sprintf("use 0s to %v", 2*relay.MaxDelay), "invalid round trip of %v", c.RTT)
	case c.Measure < 0:
		return invalid("", "the speed cannot be measured for %v", c.Measure)
	case c.BreakLink < 0 || c.BreakLink > MaxBreak:
		return invalid(fmt.Sprintf("use up to %v", MaxBreak), "the link cannot be cut for %v", c.BreakLink)
	case c.BreakLink > 0 && c.drain() < minBreakDrain:
		return invalid("use more memory, or a slower link",
			"the memory would arrive in %v: too soon for the link to be cut meanwhile", c.drain().Round(time.Millisecond))
	}
	return nil
}

// drain is how long the memory takes over the link at best.
func (c Config) drain() time.Duration {
	return time.Duration(float64(c.Memory) / float64(c.Rate) * float64(time.Second))
}

// leastMemory is what a guest needs.
func (c Config) leastMemory() uint64 {
	if c.VMM == QEMU {
		return qemuLeast
	}
	return MinMemory
}

// timeout bounds a move.
func (c Config) timeout() time.Duration {
	trips := time.Duration(c.Memory / leastPerTrip)
	return moveTimeout + time.Duration(float64(c.drain())/slowest) + trips*c.RTT + c.BreakLink
}

// mib returns a size for people.
func mib(bytes uint64) string {
	if bytes < 1<<20 {
		return fmt.Sprintf("%d bytes", bytes)
	}
	return fmt.Sprintf("%d MiB", bytes>>20)
}
