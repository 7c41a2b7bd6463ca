package x86

import (
	"slices"
	"strconv"
	"strings"
)

// CPU is what is used of a processor's state.
type CPU struct {
	CR0, CR3, CR4, EFER uint64
	// Task is the base of the task state, TR: what Linux keeps for a processor
	// lies around it.
	Task uint64
	// Addresses are what other registers hold: the code that runs, its stack, the
	// bases of segments and of descriptor tables, and what else may be an address.
	Addresses []uint64
}

// Bits of the control registers (Intel SDM volume 3, 2.2 and 2.5).
const (
	paging     = 1 << 31 // of CR0
	extension  = 1 << 5  // of CR4: physical address extension
	fiveLevels = 1 << 12 // of CR4
	longMode   = 1 << 10 // of EFER: it is active
)

// levels returns how many levels of page tables the processor uses, 0 if it is
// not in long mode.
func (c CPU) levels() int {
	switch {
	case c.CR0&paging == 0 || c.CR4&extension == 0 || c.EFER&longMode == 0:
		return 0
	case c.CR4&fiveLevels != 0:
		return 5
	default:
		return 4
	}
}

// ParseRegisters reads what QEMU's "info registers -a" prints for 64-bit x86.
// What it does not know it leaves out, so another text gives no processors.
func ParseRegisters(text string) []CPU {
	var cpus []CPU
	for part := range strings.SplitSeq(text, "CPU#") {
		if c, ok := parseCPU(part); ok && len(cpus) < maxCPUs {
			cpus = append(cpus, c)
		}
	}
	return cpus
}

func parseCPU(text string) (CPU, bool) {
	var c CPU
	fields := strings.Fields(strings.ReplaceAll(text, "=", " = "))
	for i := 0; i+2 < len(fields); i++ {
		if fields[i+1] != "=" {
			continue
		}
		c.take(fields[i], fields[i+2:])
	}
	return c, c.CR3 != 0
}

// take notes a register. values is the text behind its name: one number, or
// selector and base of a segment.
func (c *CPU) take(name string, values []string) {
	first, ok := number(values, 0)
	switch name {
	case "CR0":
		c.CR0 = first
	case "CR3":
		c.CR3 = first
	case "CR4":
		c.CR4 = first
	case "EFER":
		c.EFER = first
	case "TR":
		c.Task, _ = number(values, 1)
		c.point(c.Task)
	case "FS", "GS", "LDT":
		base, _ := number(values, 1)
		c.point(base)
	default:
		if ok && (isGeneral(name) || name == "GDT" || name == "IDT") {
			c.point(first)
		}
	}
}

// isGeneral tells the 16 general registers and RIP.
func isGeneral(name string) bool {
	return len(name) >= 2 && len(name) <= 3 && name[0] == 'R' && name != "RFL"
}

func number(values []string, i int) (uint64, bool) {
	if i >= len(values) {
		return 0, false
	}
	n, err := strconv.ParseUint(values[i], 16, 64)
	return n, err == nil
}

// point keeps an address once.
func (c *CPU) point(address uint64) {
	if address != 0 && len(c.Addresses) < maxRegisters && !slices.Contains(c.Addresses, address) {
		c.Addresses = append(c.Addresses, address)
	}
}
