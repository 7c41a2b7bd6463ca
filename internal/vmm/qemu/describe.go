package qemu

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/lazymig/lazymig/internal/vmm/qmp"
)

// describe asks a VMM for everything that both sides compare.
func describe(ctx context.Context, monitor *qmp.Client, pid int) (Description, error) {
	i, err := inspect(ctx, monitor, pid)
	return i.Description, err
}

// inspection is a Description with what it was made from.
type inspection struct {
	Description
	pid  int
	rams []ram
	maps []vma
}

// inspect looks at the VMM with process id pid. It changes nothing.
func inspect(ctx context.Context, monitor *qmp.Client, pid int) (inspection, error) {
	i := inspection{pid: pid}
	q := queries{monitor}
	for _, step := range []func(context.Context, queries) error{
		i.readIdentity, i.readCPU, i.readMemory, i.readDisks, i.readState,
	} {
		if err := step(ctx, q); err != nil {
			return i, fmt.Errorf("describe the guest: %w", err)
		}
	}
	return i, nil
}

func (i *inspection) readIdentity(ctx context.Context, q queries) (err error) {
	if i.Version, err = q.version(ctx); err != nil {
		return err
	}
	if i.Name, err = q.name(ctx); err != nil {
		return err
	}
	if i.Arch, err = q.target(ctx); err != nil {
		return err
	}
	return q.property(ctx, "/machine", "type", &i.Machine)
}

func (i *inspection) readState(ctx context.Context, q queries) error {
	state, err := q.status(ctx)
	i.State, i.Running = state.Status, state.Running
	return err
}

func (i *inspection) readDisks(ctx context.Context, q queries) error {
	drives, err := q.drives(ctx)
	i.Disks = disksOf(i.pid, drives)
	return err
}

func (i *inspection) readCPU(ctx context.Context, q queries) error {
	cpus, err := q.cpus(ctx)
	if err != nil || len(cpus) == 0 {
		return err
	}
	i.CPU.Count = len(cpus)
	if err := q.property(ctx, cpus[0].Path, "type", &i.CPU.Type); err != nil {
		return err
	}
	i.CPU.Features, err = q.features(ctx, cpus[0].Path)
	return err
}

// features reads the CPUID words of a vCPU; other architectures have none.
func (q queries) features(ctx context.Context, cpu string) ([]FeatureWord, error) {
	var words []struct {
		Leaf     uint32 `json:"cpuid-input-eax"`
		Subleaf  uint32 `json:"cpuid-input-ecx"`
		Register string `json:"cpuid-register"`
		Bits     uint32 `json:"features"`
	}
	err := q.property(ctx, cpu, "feature-words", &words)
	if err != nil && !isCommandError(err) {
		return nil, err
	}
	var list []FeatureWord
	for _, w := range words {
		if w.Bits != 0 {
			list = append(list, FeatureWord(w))
		}
	}
	slices.SortFunc(list, func(a, b FeatureWord) int {
		return cmp.Or(cmp.Compare(a.Leaf, b.Leaf), cmp.Compare(a.Subleaf, b.Subleaf), cmp.Compare(a.Register, b.Register))
	})
	return list, nil
}

func (i *inspection) readMemory(ctx context.Context, q queries) error {
	blocks, err := q.blocks(ctx)
	if err != nil {
		return err
	}
	if i.maps, err = readMaps(i.pid); err != nil {
		return err
	}
	if i.rams, err = q.findRAM(ctx, i.pid, blocks, i.maps); err != nil {
		return err
	}
	if i.DIMMs, err = q.dimms(ctx); err != nil {
		return err
	}
	slices.SortFunc(i.DIMMs, func(a, b DIMM) int { return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Backend, b.Backend)) })
	i.listBlocks(blocks)
	return i.listRAM()
}

func (i *inspection) listBlocks(blocks []blockInfo) {
	for _, b := range blocks {
		if b.name != "" {
			i.Blocks = append(i.Blocks, Block{b.name, b.total})
		}
	}
	slices.SortFunc(i.Blocks, func(a, b Block) int { return cmp.Compare(a.Name, b.Name) })
}

func (i *inspection) listRAM() error {
	for _, r := range i.rams {
		i.RAM = append(i.RAM, RAMBlock{
			ID: r.ID, Size: r.Size, Path: r.path, PageSize: r.pageSize, Shared: r.Share, Type: r.kind,
		})
		if !r.isFile() || r.err != nil {
			continue // Preflight says why
		}
		region, err := openRegion(i.pid, r)
		if err != nil {
			return err
		}
		for _, n := range region.Extents() {
			i.Allocated += n
		}
		region.File().Close()
	}
	return nil
}
