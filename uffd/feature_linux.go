package uffd

import (
	"fmt"
	"strings"
)

// Feature is a set of UFFD_FEATURE_* bits of the kernel.
type Feature uint64

const (
	// FeaturePagefaultFlagWP tells write-protect faults apart.
	FeaturePagefaultFlagWP Feature = 1 << iota
	// FeatureEventFork reports a fork; asking for it takes CAP_SYS_PTRACE.
	FeatureEventFork
	// FeatureEventRemap reports mremap.
	FeatureEventRemap
	// FeatureEventRemove reports MADV_DONTNEED and MADV_REMOVE.
	FeatureEventRemove
	// FeatureMissingHugetlbfs allows missing mode on hugetlbfs.
	FeatureMissingHugetlbfs
	// FeatureMissingShmem allows missing mode on tmpfs and memfd.
	FeatureMissingShmem
	// FeatureEventUnmap reports munmap.
	FeatureEventUnmap
	// FeatureSigbus sends SIGBUS instead of a message.
	FeatureSigbus
	// FeatureThreadID names the faulting thread in Fault.Thread.
	FeatureThreadID
	// FeatureMinorHugetlbfs allows minor mode on hugetlbfs.
	FeatureMinorHugetlbfs
	// FeatureMinorShmem allows minor mode on tmpfs and memfd.
	FeatureMinorShmem
	// FeatureExactAddress keeps the offset in the page in fault addresses.
	FeatureExactAddress
	// FeatureWPHugetlbfsShmem allows write protection of shared memory.
	FeatureWPHugetlbfsShmem
	// FeatureWPUnpopulated keeps the write protection of missing pages.
	FeatureWPUnpopulated
	// FeaturePoison offers Handle.Poison.
	FeaturePoison
	// FeatureWPAsync tracks writes without messages.
	FeatureWPAsync
	// FeatureMove offers UFFDIO_MOVE.
	FeatureMove
)

// kernelVersion is the major and minor number of a Linux release.
type kernelVersion struct{ major, minor int }

func (v kernelVersion) String() string { return fmt.Sprintf("%d.%d", v.major, v.minor) }

// features names each feature and the first kernel that has it on amd64, in the
// order of the bits. Probing never uses the versions: they are for people, who
// have to know which kernel to install.
var features = [...]struct {
	feature Feature
	name    string
	since   kernelVersion
}{
	{FeaturePagefaultFlagWP, "pagefault-flag-wp", kernelVersion{5, 7}},
	{FeatureEventFork, "event-fork", kernelVersion{4, 11}},
	{FeatureEventRemap, "event-remap", kernelVersion{4, 11}},
	{FeatureEventRemove, "event-remove", kernelVersion{4, 11}},
	{FeatureMissingHugetlbfs, "missing-hugetlbfs", kernelVersion{4, 11}},
	{FeatureMissingShmem, "missing-shmem", kernelVersion{4, 11}},
	{FeatureEventUnmap, "event-unmap", kernelVersion{4, 11}},
	{FeatureSigbus, "sigbus", kernelVersion{4, 14}},
	{FeatureThreadID, "thread-id", kernelVersion{4, 14}},
	{FeatureMinorHugetlbfs, "minor-hugetlbfs", kernelVersion{5, 13}},
	{FeatureMinorShmem, "minor-shmem", kernelVersion{5, 14}},
	{FeatureExactAddress, "exact-address", kernelVersion{5, 18}},
	{FeatureWPHugetlbfsShmem, "wp-hugetlbfs-shmem", kernelVersion{5, 19}},
	{FeatureWPUnpopulated, "wp-unpopulated", kernelVersion{6, 4}},
	{FeaturePoison, "poison", kernelVersion{6, 6}},
	{FeatureWPAsync, "wp-async", kernelVersion{6, 7}},
	{FeatureMove, "move", kernelVersion{6, 8}},
}

// String lists the names of the features in f, such as
// "event-remove,poison". Bits without a name are shown in hexadecimal.
func (f Feature) String() string {
	return f.list(func(name string, _ kernelVersion) string { return name })
}

// requirement lists the features in f with the kernels that they came with.
func (f Feature) requirement() string {
	return f.list(func(name string, since kernelVersion) string {
		return fmt.Sprintf("%s (Linux %v or newer)", name, since)
	})
}

func (f Feature) list(describe func(name string, since kernelVersion) string) string {
	var parts []string
	for _, known := range features {
		if f&known.feature != 0 {
			parts = append(parts, describe(known.name, known.since))
			f &^= known.feature
		}
	}
	if f != 0 {
		parts = append(parts, fmt.Sprintf("%#x", uint64(f)))
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ",")
}
