package qemu

import (
	"context"
	"errors"
	"fmt"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/internal/vmm/x86"
)

// Likely returns pages that the guest is likely to touch as soon as it goes on
// somewhere else, at most most, the first needed first: page tables, and what the
// registers of its processors lead to. None for guests of which it cannot tell.
// The guest runs meanwhile.
func (g *Guest) Likely(ctx context.Context, most int) (pages []lazymig.PageNumber, err error) {
	ctx, cancel := context.WithTimeout(ctx, likelyTimeout)
	defer cancel()
	q := queries{g.monitor}
	text, err := q.human(ctx, "info registers -a")
	if err != nil {
		return nil, fmt.Errorf("read the guest's registers: %w", g.explain(err))
	}
	cpus := x86.ParseRegisters(text)
	if len(cpus) == 0 {
		return nil, nil
	}
	i, err := inspect(ctx, g.monitor, g.PID())
	if err != nil {
		return nil, err
	}
	segments, err := q.segments(ctx, i.rams)
	if err != nil {
		return nil, err
	}
	memory, err := newFileMemory(g.PID(), i.rams)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, memory.Close()) }()
	layout := i.Layout()
	frames := x86.Likely(func(number uint64, frame *[x86.PageSize]byte) bool {
		p, ok := pageIn(segments, number)
		if !ok {
			return false
		}
		region, offset, ok := layout.Locate(p)
		if !ok {
			return false
		}
		_, err := memory.ReadAt(frame[:], region, offset)
		return err == nil && ctx.Err() == nil
	}, cpus, most)
	for _, number := range frames {
		if p, ok := pageIn(segments, number); ok {
			pages = append(pages, p)
		}
	}
	return pages, nil
}
