package migrations

import (
	"errors"
	"fmt"

	"github.com/lazymig/lazymig/bench"
	"github.com/lazymig/lazymig/bench/host"
	"github.com/lazymig/lazymig/bench/link"
)

// sides are the two hosts.
var sides = [...]link.Side{link.HostA, link.HostB}

// costs watches the processes of both hosts.
type costs map[link.Side]host.Watch

// watchCosts begins to watch.
func watchCosts(pair *bench.Pair) (costs, error) {
	c := costs{}
	for _, side := range sides {
		w, err := pair.Host(side).Watch()
		if err != nil {
			return nil, errors.Join(fmt.Errorf("watch the processes of host %s: %w", side, err), c.close())
		}
		c[side] = w
	}
	return c, nil
}

// rebase forgets what has been used until now.
func (c costs) rebase() error {
	var problems []error
	for _, w := range c {
		problems = append(problems, w.Rebase())
	}
	return errors.Join(problems...)
}

// close ends the watch. It is safe to call more than once.
func (c costs) close() error {
	var problems []error
	for _, w := range c {
		problems = append(problems, w.Close())
	}
	return errors.Join(problems...)
}
