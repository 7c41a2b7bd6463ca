package migrations

import (
	"fmt"
	"time"

	"github.com/lazymig/lazymig/bench"
	"github.com/lazymig/lazymig/bench/host"
	"github.com/lazymig/lazymig/bench/link"
)

// clocks are those of both hosts beside the one of this machine.
type clocks map[link.Side]host.Clock

func readClocks(pair *bench.Pair) (clocks, error) {
	c := clocks{}
	for _, side := range sides {
		var err error
		if c[side], err = pair.Host(side).Clock(); err != nil {
			return nil, fmt.Errorf("compare the clock of host %s: %w", side, err)
		}
	}
	return c, nil
}

// until returns clocks that were right at some time between c and later: what
// has changed meanwhile may be wrong.
func (c clocks) until(later clocks) clocks {
	both := clocks{}
	for side, a := range c {
		b := later[side]
		both[side] = host.Clock{
			Offset: a.Offset + (b.Offset-a.Offset)/2,
			Bound:  max(a.Bound, b.Bound) + (b.Offset-a.Offset).Abs()/2,
		}
	}
	return both
}

// here returns a time of a host by the clock of this machine.
func (c clocks) here(side link.Side, at time.Time) time.Time { return at.Add(-c[side].Offset) }

// bound is by how much the time between events of the two hosts may be wrong.
func (c clocks) bound() time.Duration { return c[link.HostA].Bound + c[link.HostB].Bound }
