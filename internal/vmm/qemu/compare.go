package qemu

import (
	"fmt"
	"slices"
	"strings"

	"github.com/lazymig/lazymig/internal/vmm"
)

// Compare checks that the guest of source can run as destination is set up.
// Each refusal and warning says both values.
func Compare(source, destination Description) []vmm.Check {
	checks := []vmm.Check{
		compareVersion(source, destination),
		same("machine", "give the destination's QEMU -machine with this type and version", source.Machine, destination.Machine),
		same("architecture", "use the same qemu-system-... program", source.Arch, destination.Arch),
		same("cpu-model", "give the destination's QEMU the same -cpu", source.CPU.Type, destination.CPU.Type),
		same("cpu-count", "give the destination's QEMU the same -smp", source.CPU.Count, destination.CPU.Count),
		compareFeatures(source.CPU, destination.CPU),
		compareRAM(source.RAM, destination.RAM),
		compareDIMMs(source.DIMMs, destination.DIMMs),
		compareBlocks(source.Blocks, destination.Blocks),
	}
	return append(checks, compareDisks(source.Disks, destination.Disks)...)
}

func same[T comparable](name, fix string, source, destination T) vmm.Check {
	if source != destination {
		return refused(name, fix, "the source has %v, the destination %v", source, destination)
	}
	return passed(name, "both sides have %v", source)
}

// compareVersion warns of an older destination: QEMU promises only that newer
// versions read the state of older ones.
func compareVersion(source, destination Description) vmm.Check {
	const name = "qemu-version"
	s, d := source.Version, destination.Version
	if !d.AtLeast(s.Major, s.Minor) {
		return warned(name, "use the source's QEMU version or a newer one at the destination", "the source has QEMU %v, the destination the older %v, which may not understand the device state", s, d)
	}
	return passed(name, "the source has QEMU %v, the destination %v", s, d)
}

func compareFeatures(source, destination CPU) vmm.Check {
	const name = "cpu-features"
	var differences []string
	for _, w := range union(source.Features, destination.Features, FeatureWord.key) {
		s, d := bitsOf(source.Features, w), bitsOf(destination.Features, w)
		if s != d {
			differences = append(differences, fmt.Sprintf("CPUID %s source %#08x destination %#08x", w.key(), s, d))
		}
	}
	if len(differences) > 0 {
		return refused(name, "give both sides the same named -cpu model and flags (not host or max on different hosts)", "the guest would see another CPU: %s", strings.Join(differences, ", "))
	}
	return passed(name, "both sides have the same %d feature words", len(source.Features))
}

// key names the register.
func (w FeatureWord) key() string { return fmt.Sprintf("%#x.%d.%s", w.Leaf, w.Subleaf, w.Register) }

func bitsOf(words []FeatureWord, w FeatureWord) uint32 {
	i := slices.IndexFunc(words, func(o FeatureWord) bool { return o.key() == w.key() })
	if i < 0 {
		return 0
	}
	return words[i].Bits
}

func compareRAM(source, destination []RAMBlock) vmm.Check {
	text := func(r RAMBlock) string {
		return fmt.Sprintf("%s (%d bytes, %d byte pages)", r.ID, r.Size, r.PageSize)
	}
	return compareLists("ram-layout", "give the destination's QEMU the same memory backends: ids, sizes, and mem-path on the same kind of file system (tmpfs, or hugetlbfs for huge pages)", source, destination, text)
}

func compareDIMMs(source, destination []DIMM) vmm.Check {
	text := func(d DIMM) string {
		return fmt.Sprintf("%s (backend %s, %d bytes at %#x)", d.ID, d.Backend, d.Size, d.Address)
	}
	return compareLists("dimms", "give the destination's QEMU the same -device pc-dimm, also for those plugged in while running, with addr= and slot=", source, destination, text)
}

// compareLists refuses lists that differ.
func compareLists[T any](name, fix string, source, destination []T, text func(T) string) vmm.Check {
	s, d := texts(source, text), texts(destination, text)
	if !slices.Equal(s, d) {
		return refused(name, fix, "the source has %s, the destination %s", list(s), list(d))
	}
	return passed(name, "both sides have %s", list(s))
}

// compareBlocks compares all of QEMU's RAM blocks. QEMU fails on a block that
// the destination lacks or has in another size; one that it has in addition
// is not filled.
func compareBlocks(source, destination []Block) vmm.Check {
	const name = "ram-blocks"
	const fix = "give the destination's QEMU the same devices in the same order, also those plugged in while running, and the same firmware files"
	var missing, extra []string
	for _, b := range union(source, destination, func(b Block) string { return b.Name }) {
		s, d := sizeOf(source, b.Name), sizeOf(destination, b.Name)
		switch {
		case s == d:
		case s == 0:
			extra = append(extra, b.Name)
		default:
			missing = append(missing, fmt.Sprintf("%s source %d bytes destination %d bytes", b.Name, s, d))
		}
	}
	switch {
	case len(missing) > 0:
		return refused(name, fix, "RAM blocks differ: %s", strings.Join(missing, ", "))
	case len(extra) > 0:
		return warned(name, fix, "the destination has RAM blocks that the source has not: %s", strings.Join(extra, ", "))
	}
	return passed(name, "both sides have the same %d RAM blocks", len(source))
}

func sizeOf(blocks []Block, name string) uint64 {
	i := slices.IndexFunc(blocks, func(b Block) bool { return b.Name == name })
	if i < 0 {
		return 0
	}
	return blocks[i].Size
}

// union returns the elements of both lists, one for each key, in order.
func union[T any](a, b []T, key func(T) string) []T {
	seen := make(map[string]bool, len(a))
	var list []T
	for _, v := range slices.Concat(a, b) {
		if k := key(v); !seen[k] {
			seen[k] = true
			list = append(list, v)
		}
	}
	return list
}

func texts[T any](list []T, text func(T) string) []string {
	var t []string
	for _, v := range list {
		t = append(t, text(v))
	}
	return t
}

// list joins names for people.
func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
