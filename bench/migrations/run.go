package migrations

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/lazymig/lazymig/bench"
	"github.com/lazymig/lazymig/bench/guest"
	"github.com/lazymig/lazymig/bench/host"
	"github.com/lazymig/lazymig/bench/leftover"
	"github.com/lazymig/lazymig/bench/link"
	"github.com/lazymig/lazymig/bench/vm"
)

// mover is a technique at work on one guest.
type mover interface {
	// prepare makes the destination wait for the guest. It returns the monitor
	// of its QEMU if that runs already.
	prepare(ctx context.Context) (*monitor, error)
	// move returns when the source is free.
	move(ctx context.Context) error
	// close ends what still runs.
	close() error
}

// run is one measured move.
type run struct {
	config  Config
	setting Setting
	record  *Record

	dir    string // of this machine
	places map[link.Side]bench.Place
	pair   *bench.Pair
	place  *vm.VM // where the guest goes to
	former []*own // moves before the measured one
	from   *bench.Snapshot
	source *monitor
	costs  costs
	clocks clocks // as they were before the move
	mover  mover
	// target is the monitor of the destination.
	target *monitor
	// idleRate is the share of a processor that QEMU uses for other things
	// than its virtual CPUs when nothing moves.
	idleRate float64
	ownRAM   uint64 // anonymous memory of the source's QEMU before the move; the destination's has none of it yet
	before   link.Counters
	prepared time.Time
	ownCPU   time.Duration // of this process when the preparations began
	line     timeline
}

// measure makes one run and fills the record. The error says why it failed.
func (r *run) measure(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, r.close()) }()
	if err := r.prelude(ctx); err != nil {
		return err
	}
	boot, cancel := context.WithTimeout(ctx, bootTimeout)
	defer cancel()
	if err := r.boot(boot); err != nil {
		return err
	}
	if err := r.settle(boot); err != nil {
		return err
	}
	if err := r.observe(boot); err != nil {
		return err
	}
	if err := r.prepare(boot); err != nil {
		return err
	}
	moving, cancel := context.WithTimeoutCause(ctx, r.setting.timeout(), fmt.Errorf("it has not come to its end in %v", r.setting.timeout().Round(time.Second)))
	defer cancel()
	if err := r.move(moving); err != nil {
		return err
	}
	after, cancel := context.WithTimeout(ctx, bootTimeout)
	defer cancel()
	return r.check(after)
}

// timeout bounds the move itself.
func (s Setting) timeout() time.Duration {
	rate := float64(s.RateBits) / 8
	if rate == 0 || s.Loss > 0 || s.RTTMS > 0 || s.JitterMS > 0 {
		rate = min(rate, lossyRate)
		if rate == 0 {
			rate = lossyRate
		}
	}
	return moveTimeout + moveFactor*time.Duration(float64(s.ChangingMiB<<20)/rate*float64(time.Second))
}

// prelude makes everything that the guest finds.
func (r *run) prelude(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, historyTimeout)
	defer cancel()
	r.dir = filepath.Join(os.TempDir(), leftover.Name("migration"))
	if err := os.Mkdir(r.dir, 0o700); err != nil {
		return fmt.Errorf("create a folder: %w", err)
	}
	if r.config.Hosts != nil {
		var err error
		if r.places, err = r.config.Hosts.Prepare(); err != nil {
			return err
		}
	}
	return r.history(ctx)
}

// boot starts the guest on an unlimited link and then shapes the link.
func (r *run) boot(ctx context.Context) (err error) {
	config := vm.Config{RAM: []vm.Backend{{MiB: r.setting.MemoryMiB}}, Guest: r.setting.params(), Binary: r.config.QEMU, Accel: r.config.Environment.Accel}
	if r.setting.RAM == RAMPlain {
		config.RAM[0].Sharing = vm.Plain
	}
	if r.setting.Guest == Files {
		if config.Files, err = guest.Files(ctx); err != nil {
			return err
		}
	}
	if r.pair, err = bench.New(ctx, bench.Config{VM: config, From: r.from, Places: r.places}); err != nil {
		return err
	}
	if r.from != nil {
		if err := r.goOn(ctx); err != nil {
			return err
		}
	}
	if r.setting.Guest == Idle {
		if _, err := r.pair.Source().Command(ctx, "stop"); err != nil {
			return err
		}
	}
	if r.pair.Link == nil {
		return nil // the link is as it is
	}
	if err := r.pair.Link.SetRate(ctx, r.setting.RateBits); err != nil {
		return err
	}
	return r.pair.Link.SetPath(ctx, r.setting.path())
}

// path returns what the link is to do beside its rate.
func (s Setting) path() link.Path {
	return link.Path{
		RTT: time.Duration(s.RTTMS * float64(time.Millisecond)), Loss: s.Loss,
		Jitter: time.Duration(s.JitterMS * float64(time.Millisecond)), Seed: 1,
	}
}

// observe measures what the guest and its QEMU do when nothing moves.
func (r *run) observe(ctx context.Context) (err error) {
	v := r.pair.Source()
	if r.source, err = connect(ctx, r.pair.Host(v.Side()), v); err != nil {
		return err
	}
	if r.costs, err = watchCosts(r.pair); err != nil {
		return err
	}
	threads, err := r.source.vcpus(ctx)
	if err != nil {
		return err
	}
	here := r.costs[v.Side()]
	if err := here.Exclude(r.source.pid, threads, 0); err != nil {
		return err
	}
	if _, err := v.Stream().Wait(ctx, warmUp); err != nil {
		return err
	}
	if err := errors.Join(r.floor(ctx), r.costs.rebase()); err != nil {
		return err
	}
	began := time.Now()
	first, _ := v.Stream().Last()
	last, err := v.Stream().Wait(ctx, baseline)
	if err != nil {
		return err
	}
	spent, err := here.Spent()
	if err != nil {
		return err
	}
	r.idleRate = spent.Time.Seconds() / time.Since(began).Seconds()
	r.ownRAM = spent.Resident[r.source.pid]
	if err := here.Exclude(r.source.pid, threads, r.ownRAM); err != nil {
		return err
	}
	r.line.baseRate = float64(last.Ops-first.Ops) / last.Received.Sub(first.Received).Seconds()
	r.record.BaseRate = r.line.baseRate
	return nil
}

// floor stops the guest in place some times and notes the gaps.
func (r *run) floor(ctx context.Context) error {
	beats := r.pair.Source().Stream()
	var gaps []time.Duration
	for range floorStops {
		before, _ := beats.Last()
		for _, command := range []string{"stop", "cont"} {
			if err := r.source.Execute(ctx, command, nil, nil); err != nil {
				return err
			}
		}
		if _, err := beats.Wait(ctx, floorBeats); err != nil {
			return err
		}
		all, err := r.pair.Beats.Beats()
		if err != nil {
			return err
		}
		gaps = append(gaps, longestGap(all, before.Sequence))
	}
	for _, gap := range gaps {
		r.record.FloorWorstMS = max(r.record.FloorWorstMS, ms(gap))
	}
	r.record.FloorMS = ms(median(gaps))
	return nil
}

// prepare sets the destination up.
func (r *run) prepare(ctx context.Context) (err error) {
	if r.place, err = r.pair.Destination(); err != nil {
		return err
	}
	if r.mover, err = r.choose(); err != nil {
		return err
	}
	if err := errors.Join(r.used(), r.costs.rebase()); err != nil {
		return err
	}
	r.prepared, r.ownCPU = time.Now(), ownCPU()
	target, err := r.mover.prepare(ctx)
	if target != nil {
		return errors.Join(err, r.arrived(target))
	}
	return err
}

// arrived takes note of the destination's QEMU.
func (r *run) arrived(m *monitor) error {
	r.target = m
	ctx, cancel := context.WithTimeout(context.Background(), bootTimeout)
	defer cancel()
	threads, err := m.vcpus(ctx)
	if err != nil {
		return err
	}
	there := r.costs[r.place.Side()]
	spent, err := there.Spent()
	if err != nil {
		return err
	}
	return there.Exclude(m.pid, threads, max(r.ownRAM, spent.Resident[m.pid]))
}

// choose returns the technique of the setting.
func (r *run) choose() (mover, error) {
	if r.setting.Technique == Lazymig {
		return r.own(r.place), nil
	}
	p := &peer{technique: r.setting.Technique, source: r.source, from: r.pair.Source(), place: r.place, host: r.pair.Host(r.place.Side())}
	r.record.Capabilities, r.record.Parameters = p.technique.capabilities(), p.technique.parameters()
	if !r.setting.TLS {
		return p, nil
	}
	var err error
	p.credentials, err = newCredentials(r.end(link.HostA), r.end(link.HostB))
	return p, err
}

// end is what a technique has on one host.
type end struct {
	host    host.Host
	program string // lazymig
	dir     string // for its files, which has to be made
}

func (r *run) end(side link.Side) end {
	e := end{host: r.pair.Host(side), program: r.config.Program, dir: filepath.Join(r.dir, string(side))}
	if place, ok := r.places[side]; ok {
		e.program, e.dir = place.Program, filepath.Join(place.Dir, "own")
	}
	return e
}

// used notes how much memory the guest has allocated.
func (r *run) used() (err error) {
	if r.setting.RAM == RAMPlain {
		r.record.MemoryUsed = r.ownRAM
		return nil
	}
	v := r.pair.Source()
	ram := v.RAMFiles()[0]
	if len(r.former) > 0 {
		ram += ".lazymig-????????" // lazymig has brought it
	}
	r.record.MemoryUsed, err = r.pair.Host(v.Side()).Allocated(ram)
	return err
}

// close ends and removes everything of the run.
func (r *run) close() error {
	problems := []error{r.costs.close()}
	if r.mover != nil {
		problems = append(problems, r.mover.close())
	}
	if r.source != nil {
		problems = append(problems, r.source.Close())
	}
	if r.pair != nil {
		problems = append(problems, r.pair.Close())
	}
	if o, ok := r.mover.(*own); ok {
		problems = append(problems, o.removeRAM())
	}
	problems = append(problems, r.forget())
	for _, place := range r.places {
		problems = append(problems, place.Host.Remove(place.Dir), place.Host.Remove(place.RAMDir))
	}
	return errors.Join(append(problems, os.RemoveAll(r.dir))...)
}
