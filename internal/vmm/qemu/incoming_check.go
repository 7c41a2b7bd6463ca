package qemu

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/lazymig/lazymig/internal/vmm"
)

// checkBackends compares the memory that QEMU has with the RAM files: an
// option that the command line's parser did not know could hide a backend,
// which nobody would serve. It notes which files are RAM of the guest; a
// backend that no device uses yet is none.
func (i *Incoming) checkBackends(ctx context.Context) error {
	q := queries{i.client}
	list, err := q.memdevs(ctx)
	if err != nil {
		return i.explain(fmt.Errorf("ask QEMU for its memory: %w", err))
	}
	if len(list) != len(i.files) {
		return fmt.Errorf("check QEMU's memory: it has %d memory backends, the command line %d: leave out options that this lazymig does not know", len(list), len(i.files))
	}
	for _, m := range list {
		if err := i.checkBackend(ctx, q, m); err != nil {
			return err
		}
	}
	description, err := i.Describe(ctx)
	if err != nil {
		return err
	}
	for _, r := range description.RAM {
		i.regions = append(i.regions, i.fileOf(r.ID))
	}
	return nil
}

func (i *Incoming) checkBackend(ctx context.Context, q queries, m memdev) error {
	f := i.fileOf(m.ID)
	if f == nil || f.size != m.Size || !m.Share {
		return fmt.Errorf("check QEMU's memory: backend %q with %d bytes is not as on the command line", m.ID, m.Size)
	}
	var path string
	if err := q.property(ctx, "/objects/"+m.ID, "mem-path", &path); err != nil {
		return i.explain(err)
	}
	if path != f.path {
		return fmt.Errorf("check QEMU's memory: backend %q uses %s instead of %s", m.ID, path, f.path)
	}
	return nil
}

func (i *Incoming) fileOf(id string) *ramFile {
	for _, f := range i.files {
		if f.id == id {
			return f
		}
	}
	return nil
}

// Preflight checks, before the source does anything, whether the guest that
// it describes can arrive here.
func (i *Incoming) Preflight(ctx context.Context, source Description) ([]vmm.Check, error) {
	own, err := i.Describe(ctx)
	if err != nil {
		return nil, fmt.Errorf("describe the destination: %w", err)
	}
	checks := Compare(source, own)
	places, err := i.places()
	if err != nil {
		return nil, err
	}
	need := withSpare(source.Allocated - min(source.Allocated, source.huge()))
	limits, err := Host{}.readMemoryLimits(strconv.Itoa(i.PID()))
	if err != nil {
		return nil, err
	}
	machine, err := Host{}.readMachineMemory()
	if err != nil {
		return nil, err
	}
	if len(places) > 0 {
		checks = append(checks, checkSpace(places, need)...)
	}
	checks = append(checks, checkMachineMemory(machine, need), checkMemoryLimits(limits, need))
	pages, err := Host{}.checkHugePages(places)
	if err != nil {
		return nil, err
	}
	return append(checks, pages, i.checkReserved(), i.checkUntouched(), checkUserfaultfd()), nil
}

// checkReserved says what is held for RAM in huge pages: QEMU has mapped it, which
// reserves all of it, or it would not run.
func (i *Incoming) checkReserved() vmm.Check {
	const name = "hugetlb-pages"
	var size uint64
	for _, f := range i.files {
		if f.huge {
			size += f.size
		}
	}
	if size == 0 {
		return passed(name, "the guest's RAM is not in huge pages")
	}
	return passed(name, "%s in huge pages are reserved", mebibytes(size))
}

// withSpare adds room for what the guest touches while its memory arrives.
func withSpare(bytes uint64) uint64 { return bytes + bytes/100*sparePercent }

func (i *Incoming) checkUntouched() vmm.Check {
	var touched []string
	for _, f := range i.files {
		if err := f.untouched(); err != nil {
			touched = append(touched, err.Error())
		}
	}
	if len(touched) > 0 {
		return refused("ram-untouched", "remove what preallocates, locks or loads into guest RAM from the command line", "%s", strings.Join(touched, "; "))
	}
	return passed("ram-untouched", "QEMU has not touched the guest's RAM")
}

func mebibytes(bytes uint64) string { return fmt.Sprintf("%d MiB", (bytes+1<<20-1)>>20) }
