package quictransport

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/lazymig/lazymig/internal/wire"
)

// groupKey says which arrivals are of one link: those of the same attempt of
// the same session by the same certificate.
type groupKey struct {
	sessionKey
	attempt uint64
}

// group is a link in the making. Its fields are protected by Listener.mu until
// done is closed, and do not change afterwards.
//
// Each arrival's goroutine waits for done. The last one to come hands the group
// to Accept; if one of them dies or waits too long, the group breaks, and each
// refuses its own.
type group struct {
	control *arrival
	bulk    map[uint16]*arrival
	done    chan struct{}
	err     error // why it broke
}

func (g *group) complete() bool {
	return g.control != nil && len(g.bulk) == int(g.control.hello.Index)
}

// arrivals returns all parts.
func (g *group) arrivals() []*arrival {
	all := []*arrival{g.control}
	for i := range uint16(len(g.bulk)) {
		all = append(all, g.bulk[i])
	}
	return all
}

// connections returns what newLink wants.
func (g *group) connections() (conns []*conn, s streams) {
	s.control, s.demand = g.control.control, g.control.demand
	for _, a := range g.arrivals() {
		conns = append(conns, a.conn)
		if a != g.control {
			s.bulk = append(s.bulk, a.bulk)
		}
		if a.recipe != nil {
			s.recipe = a.recipe
		}
	}
	return conns, s
}

// assemble puts an arrival into its group and waits until the group is handed
// to Accept, nil, or broken.
func (l *Listener) assemble(a *arrival) error {
	key := groupKey{sessionKey{a.hello.Session, a.fingerprint}, a.hello.Attempt}
	g, err := l.join(key, a)
	if err != nil {
		return err
	}
	timer := time.NewTimer(linkTimeout)
	defer timer.Stop()
	select {
	case <-g.done:
	case <-timer.C:
		l.breakUp(key, g, fmt.Errorf("%w: not all parts of the link came", os.ErrDeadlineExceeded))
	case <-a.conn.Context().Done():
		l.breakUp(key, g, context.Cause(a.conn.Context()))
	case <-l.ctx.Done():
		l.breakUp(key, g, &RefusedError{Code: wire.CodeClosing, Text: "the listener closes"})
	}
	<-g.done
	return g.err
}

// join adds an arrival to its group, and hands the group over if that makes it
// complete.
func (l *Listener) join(key groupKey, a *arrival) (*group, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	g := l.groups[key]
	if g == nil {
		g = &group{bulk: make(map[uint16]*arrival), done: make(chan struct{})}
		l.groups[key] = g
	}
	if err := g.add(a); err != nil {
		l.breakUpLocked(key, g, err)
		return nil, err
	}
	if !g.complete() {
		return g, nil
	}
	select {
	case l.ready <- g:
		delete(l.groups, key)
		close(g.done)
	default:
		l.breakUpLocked(key, g, &RefusedError{Code: wire.CodeBusy, Text: "too many links wait to be accepted", Hint: "try again later"})
	}
	return g, nil
}

// add puts an arrival into its place.
func (g *group) add(a *arrival) error {
	index := a.hello.Index
	switch {
	case a.bulk != nil && (index >= MaxBulk || g.bulk[index] != nil):
		return fmt.Errorf("%w: bulk connection %d is one too many", wire.ErrUnexpected, index)
	case a.bulk != nil:
		g.bulk[index] = a
	case g.control != nil:
		return fmt.Errorf("%w: a second control stream", wire.ErrUnexpected)
	case index == 0 || index > MaxBulk:
		return fmt.Errorf("%w: %d bulk connections, want 1 to %d", wire.ErrUnexpected, index, MaxBulk)
	default:
		g.control = a
	}
	if g.control == nil {
		return nil
	}
	for i := range g.bulk {
		if i >= g.control.hello.Index {
			return fmt.Errorf("%w: bulk connection %d of %d", wire.ErrUnexpected, i, g.control.hello.Index)
		}
	}
	return nil
}

// breakUp ends a group unless it was handed over.
func (l *Listener) breakUp(key groupKey, g *group, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.breakUpLocked(key, g, err)
}

func (l *Listener) breakUpLocked(key groupKey, g *group, err error) {
	if l.groups[key] != g {
		return
	}
	delete(l.groups, key)
	g.err = err
	close(g.done)
}
