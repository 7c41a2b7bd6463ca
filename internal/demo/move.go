package demo

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/lazymig/lazymig/internal/migrate"
)

// drain is what is known of the move while the memory follows the guest.
type drain struct {
	progress Progress
	began    time.Time // the first heartbeat at the destination
	ops      uint64    // of that beat
	speed    speedometer

	cut, whole time.Time       // of the link
	healed     <-chan struct{} // the break is over
}

// moveGuest moves it and follows both sides until they are done.
func (r *run) moveGuest(ctx context.Context) error {
	limit := r.cfg.timeout()
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("the move took more than %v", limit))
	defer cancel()
	listen, err := r.openPath()
	if err != nil {
		return err
	}
	if r.receive, err = r.command(r.receiveArgs(listen.String())...); err != nil {
		return err
	}
	if err := r.awaitListener(ctx); err != nil {
		return err
	}
	r.event(Event{Event: EventSwitch})
	if r.send, err = r.command(r.sendArgs()...); err != nil {
		return err
	}
	if err := r.follow(ctx); err != nil {
		return err
	}
	return r.ended(ctx)
}

func (r *run) receiveArgs(listen string) []string {
	args := []string{
		"receive", "--json", "--vm", guestName, "--listen", listen, "--page-map", strconv.Itoa(MapCells),
		"--state-dir", r.place.path(destination), "--tls-dir", r.place.identity(destination), "--peer", source, "--",
	}
	return append(args, r.guest.command()...)
}

func (r *run) sendArgs() []string {
	args := []string{
		"send", "--json", "--vm", guestName, "--to", r.path.Addr().String(),
		"--state-dir", r.place.path(source), "--tls-dir", r.place.identity(source), "--peer", destination,
	}
	return append(args, r.guest.monitor()...)
}

// awaitListener waits until the destination listens: that is the first thing
// that it says.
func (r *run) awaitListener(ctx context.Context) error {
	for timeout := time.After(listenTimeout); ; {
		select {
		case e, ok := <-r.receive.events:
			if !ok {
				return r.gone(r.receive)
			}
			if e.Event == migrate.EventMessage && strings.HasPrefix(e.Message, "waiting for ") {
				return nil
			}
		case <-timeout:
			return fmt.Errorf("the destination did not listen in %v", listenTimeout)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// gone is why a command ended that should not have.
func (r *run) gone(c *command) error {
	if err := c.failure(); err != nil {
		return err
	}
	return fmt.Errorf("%s ended too early", c.name)
}

// follow takes what both sides and the guest tell until both are done.
func (r *run) follow(ctx context.Context) error {
	_, to := r.guest.streams()
	beating := make(chan error, 1)
	watching, stop := context.WithCancel(ctx)
	defer stop()
	r.wait.Go(func() {
		_, err := to.Wait(watching, 1)
		beating <- err
	})
	tick := time.NewTicker(sampleTime)
	defer tick.Stop()
	received, sent := r.receive.events, r.send.events
	for received != nil || sent != nil {
		var err error
		select {
		case e, ok := <-received:
			if !ok {
				received, err = nil, r.receive.failure()
			} else {
				r.take(e)
			}
		case _, ok := <-sent:
			if !ok {
				sent, err = nil, r.send.failure()
			}
		case err = <-beating:
			beating = nil
			if err == nil {
				err = r.switched()
			}
		case <-r.drain.healed:
			r.linkHealed()
		case now := <-tick.C:
			r.sample(now)
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		if err != nil {
			return err
		}
	}
	if beating != nil {
		return errors.New("both sides are done, but the guest's heartbeat does not come from the destination")
	}
	return nil
}

// take notes what the destination tells.
func (r *run) take(e migrate.Event) {
	switch {
	case e.Progress != nil:
		r.drain.progress.Progress = *e.Progress
		r.breakLink()
	case e.Map != nil:
		r.drain.progress.Map = e.Map
	}
}

// switched notes that the guest runs at the destination.
func (r *run) switched() error {
	_, to := r.guest.streams()
	s, err := r.beats.Switch(to)
	if err != nil {
		return err
	}
	r.drain.began, r.drain.ops = s.First.Received, s.First.Ops
	r.drain.speed.look(to, time.Now())
	r.event(Event{Event: EventSwitched, GapMS: milliseconds(s.Gap)})
	return nil
}

// sample tells how far the memory is and how fast the guest.
func (r *run) sample(now time.Time) {
	if r.drain.began.IsZero() || r.drain.progress.Map == nil {
		return
	}
	_, to := r.guest.streams()
	p := &r.drain.progress
	p.SinceMS, p.Speed = milliseconds(now.Sub(r.drain.began)), r.drain.speed.look(to, now)
	p.Cut = !r.drain.cut.IsZero() && r.drain.whole.IsZero()
	told := *p
	r.event(Event{Event: EventProgress, Progress: &told})
}

// breakLink cuts the link when enough of the memory has arrived.
func (r *run) breakLink() {
	d := &r.drain
	data := float64(d.progress.Total - min(d.progress.Zero, d.progress.Total))
	if r.cfg.BreakLink == 0 || d.began.IsZero() || !d.cut.IsZero() || float64(d.progress.Demand+d.progress.Bulk) < breakShare*data {
		return
	}
	d.cut = time.Now()
	d.healed = r.path.Break(r.cfg.BreakLink)
	r.event(Event{Event: EventCut})
}

func (r *run) linkHealed() {
	r.drain.whole, r.drain.healed = time.Now(), nil
	r.event(Event{Event: EventWhole})
}

// ended takes stock when both sides are done.
func (r *run) ended(ctx context.Context) error {
	r.report.Source, r.report.Destination = r.send.report, r.receive.report
	if r.report.Source == nil || r.report.Destination == nil {
		return errors.New("a side has ended without a report")
	}
	_, to := r.guest.streams()
	last, _ := to.Last()
	d := &r.drain
	took := time.Since(d.began)
	r.report.DrainMS = milliseconds(took)
	r.report.During = float64(last.Ops-d.ops) / took.Seconds()
	r.report.BlackoutMS = milliseconds(r.report.Source.ResumedAt.Sub(r.report.Source.StoppedAt))
	told := d.progress
	told.SinceMS, told.Cut, told.Progress = r.report.DrainMS, false, finally(*r.report.Destination)
	r.event(Event{Event: EventArrived, Progress: &told})
	if r.cfg.BreakLink > 0 {
		if err := r.stall(); err != nil {
			return err
		}
	}
	return r.quiet(ctx)
}

// finally returns the progress that a report tells.
func finally(r migrate.Report) migrate.Progress {
	return migrate.Progress{
		Total: r.PagesTotal, Zero: r.PagesZero, Cache: r.PagesCache, Demand: r.PagesDemand, Bulk: r.PagesBulk,
		Discarded: r.PagesDiscarded, Poisoned: r.PagesPoisoned,
		FaultP50: r.FaultUS.Remote.P50, FaultP99: r.FaultUS.Remote.P99,
	}
}

// stall tells what the broken link did.
func (r *run) stall() error {
	d := &r.drain
	if d.whole.IsZero() {
		return &Error{
			text: "the memory arrived before the link could be cut",
			hint: "use more --memory, or less --bandwidth",
		}
	}
	beats, err := r.beats.Beats()
	if err != nil {
		return err
	}
	longest, after := standstill(beats, d.cut, d.whole)
	r.report.Stall = &Stall{CutMS: milliseconds(d.whole.Sub(d.cut)), StalledMS: milliseconds(longest), AfterMS: milliseconds(after)}
	r.event(Event{Event: EventStall, Stall: r.report.Stall})
	return nil
}

// quiet waits until no engine or keeper of this run is left: they end by
// themselves.
func (r *run) quiet(ctx context.Context) error {
	for deadline := time.Now().Add(endTimeout); ; {
		left := helpers(r.place.name)
		if len(left) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes of lazymig are left: %q", left)
		}
		if err := pause(ctx, killPoll); err != nil {
			return err
		}
	}
}
