package guest

import (
	"fmt"
	"strings"
)

// Pattern says what the guest fills its memory with.
type Pattern string

// The patterns that the guest's program knows.
const (
	// PatternMixed alternates pages of pseudo-random words with pages of long
	// runs of equal words. It is what an empty Pattern means.
	PatternMixed Pattern = "mixed"
	// PatternZero leaves every word zero that was not written later.
	PatternZero Pattern = "zero"
	// PatternRandom fills every page with pseudo-random words.
	PatternRandom Pattern = "random"
)

// Params says how the guest's program behaves. The zero value of a field takes
// the default that its comment names.
type Params struct {
	// MemoryMiB is the size of the memory that the guest keeps changing, in
	// MiB. Default 64. The guest's kernel needs about 130 MiB besides.
	MemoryMiB int
	// Pattern is what the memory is filled with. Default PatternMixed.
	Pattern Pattern
	// HotMiB is how much of the memory, from its start, is written after it has
	// been filled, in MiB. Default 0: all of it.
	HotMiB int
	// Sequential writes the pages one after the other instead of at random.
	Sequential bool
	// Read makes each operation read a page of the whole memory, at random,
	// before it writes one. Not together with Sequential.
	Read bool
	// Seed tells guests apart: with another one, no page of the memory is like
	// that of the other guest. Default 0.
	Seed int
	// DMAMiB is a memory into which the guest reads its disk's records all the
	// time (O_DIRECT), if it has a disk. Default: none.
	DMAMiB int
	// Rate bounds the page operations a second. Default 0: no bound.
	Rate int
	// Beats is the number of heartbeats a second. Default 1000.
	Beats int
	// Records is the number of disk records a second, if the guest has a
	// disk. Default 50.
	Records int
	// Files is the name of a disk with the image of [Files], such as "vda": the
	// guest reads all of it into its page cache at the start, and verifies what
	// is there. Default: none.
	Files string
	// Address is the IPv4 address of the guest's first network device, with a
	// prefix of 24 bits. Default: the device is left alone, nothing echoes.
	Address string
}

// kernelOptions make a quiet kernel that boots fast under emulation: no
// mitigations, no checks of timers that migration would disturb, warnings on
// the first serial port, power off at a panic.
var kernelOptions = []string{
	"console=ttyS0", "loglevel=4", "panic=-1", "mitigations=off", "nokaslr",
	"tsc=reliable", "clocksource=tsc", "no_timer_check", "nowatchdog",
	"init_on_alloc=0", "audit=0", "ipv6.disable=1", "random.trust_cpu=on",
	"transparent_hugepage=never", "memhp_default_state=online", "rcupdate.rcu_expedited=1",
}

// CommandLine returns the kernel command line for QEMU's -append.
func (p Params) CommandLine() string {
	args := append([]string(nil), kernelOptions...)
	number := func(name string, value int) {
		if value != 0 {
			args = append(args, fmt.Sprintf("lm.%s=%d", name, value))
		}
	}
	number("mem", p.MemoryMiB)
	number("hot", p.HotMiB)
	number("seed", p.Seed)
	number("dma", p.DMAMiB)
	number("rate", p.Rate)
	number("beats", p.Beats)
	number("records", p.Records)
	if p.Read {
		args = append(args, "lm.read=1")
	}
	if p.Sequential {
		args = append(args, "lm.order=sequential")
	}
	if p.Pattern != "" {
		args = append(args, "lm.pattern="+string(p.Pattern))
	}
	if p.Files != "" {
		args = append(args, "lm.files="+p.Files)
	}
	if p.Address != "" {
		args = append(args, "lm.ip="+p.Address)
	}
	return strings.Join(args, " ")
}
