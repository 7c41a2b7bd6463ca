package migrations

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/lazymig/lazymig/bench"
	"github.com/lazymig/lazymig/bench/guest"
	"github.com/lazymig/lazymig/bench/link"
	"github.com/lazymig/lazymig/bench/vm"
)

// historyTimeout bounds everything before the guest that is measured.
const historyTimeout = 15 * time.Minute

// loadRecheck is how often QEMU is asked whether it has loaded a snapshot.
const loadRecheck = 10 * time.Millisecond

// history makes the cache what it is to be when the guest comes: before it is
// booted.
func (r *run) history(ctx context.Context) error {
	guests, seed := r.setting.Cache.earlier()
	for i := range guests {
		if err := r.precede(ctx, seed(i)); err != nil {
			return fmt.Errorf("move a guest before: %w", err)
		}
	}
	return nil
}

// precede boots another guest, moves it and ends it.
func (r *run) precede(ctx context.Context, seed int) (err error) {
	ctx, cancel := context.WithTimeout(ctx, bootTimeout)
	defer cancel()
	before := *r
	before.setting.seed = seed
	if r.setting.Cache == Unrelated {
		before.setting.Guest = Tenth // no file of this one's
	}
	record := *r.record
	before.record = &record
	err = before.boot(ctx)
	if err == nil && r.setting.Cache == Forked {
		r.from, err = before.fork(ctx)
	}
	if err == nil {
		err = before.travel(ctx)
	}
	if before.pair != nil {
		err = errors.Join(err, before.pair.Close())
	}
	return errors.Join(err, before.forget())
}

// fork makes a snapshot of the guest, which goes on.
func (r *run) fork(ctx context.Context) (_ *bench.Snapshot, err error) {
	e := r.end(r.pair.Source().Side())
	if err := r.own(nil).identify(); err != nil { // makes the folders
		return nil, err
	}
	m, err := connect(ctx, e.host, r.pair.Source())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	if err := m.configure(ctx, []string{"events"}, map[string]any{"max-bandwidth": unlimited}); err != nil {
		return nil, err
	}
	if err := m.Execute(ctx, "stop", nil, nil); err != nil {
		return nil, err
	}
	from := &bench.Snapshot{Path: filepath.Join(e.dir, "snapshot"), Beats: r.pair.Beats.Fork()}
	if err := m.Execute(ctx, "migrate", map[string]string{"uri": "exec:cat > '" + from.Path + "'"}, nil); err != nil {
		return nil, err
	}
	if name, err := m.await(ctx, "MIGRATION/completed", "MIGRATION/failed"); err != nil || name != "MIGRATION/completed" {
		return nil, errors.Join(err, fmt.Errorf("write a snapshot of the guest: QEMU says %s", name))
	}
	return from, m.Execute(ctx, "cont", nil, nil)
}

// goOn has the guest go on from its snapshot.
func (r *run) goOn(ctx context.Context) (err error) {
	v := r.pair.Source()
	m, err := connect(ctx, r.pair.Host(v.Side()), v)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	for {
		var answer struct{ Status string }
		if err := m.Execute(ctx, "query-status", nil, &answer); err != nil {
			return fmt.Errorf("load a snapshot of the guest: %w: %s", err, v.Log())
		}
		if answer.Status == "paused" { // as it was when the snapshot was made
			break
		}
		select {
		case <-time.After(loadRecheck):
		case <-ctx.Done():
			return fmt.Errorf("load a snapshot of the guest: %w", context.Cause(ctx))
		}
	}
	if err := m.Execute(ctx, "cont", nil, nil); err != nil {
		return err
	}
	_, err = v.Stream().Wait(ctx, 1)
	return err
}

// travel moves the guest by lazymig, and measures nothing.
func (r *run) travel(ctx context.Context) (err error) {
	place, err := r.pair.Destination()
	if err != nil {
		return err
	}
	o := r.own(place)
	o.arrived, o.before = func(*monitor) error { return nil }, true
	r.former = append(r.former, o)
	defer func() { err = errors.Join(err, o.close()) }()
	if _, err := o.prepare(ctx); err != nil {
		return err
	}
	if err := o.move(ctx); err != nil {
		return err
	}
	if _, err := o.finish(ctx); err != nil {
		return err
	}
	return r.pair.Moved()
}

// index has the destination index the image of the guest's disk.
func (r *run) index(ctx context.Context, to link.Side) error {
	image, err := guest.Files(ctx)
	if err != nil {
		return err
	}
	if place, ok := r.places[to]; ok {
		image = place.Files
	}
	o := r.own(nil)
	if err := o.identify(); err != nil {
		return err
	}
	e := r.end(to)
	add, err := e.start([]string{"cache", "add", image, "--json", "--cache-dir", e.cacheDir(), "--tls-dir", filepath.Join(e.dir, "tls")})
	if err != nil {
		return err
	}
	return add.wait(ctx)
}

// settle makes the guest what it is to be when it moves: after it was booted.
func (r *run) settle(ctx context.Context) error {
	switch r.setting.Cache {
	case Returning:
		return r.travel(ctx)
	case IndexedImage:
		return r.index(ctx, r.pair.Source().Side().Other())
	case NoCache, EmptyCache, Warm, Forked, SecondBoot, TenthBoot, Unrelated:
	}
	return nil
}

// forget removes what guests before have left.
func (r *run) forget() error {
	var problems []error
	for _, o := range r.former {
		problems = append(problems, o.removeRAM())
	}
	return errors.Join(problems...)
}

// own returns lazymig as the technique that moves the guest to place.
func (r *run) own(place *vm.VM) *own {
	o := &own{source: r.pair.Source(), place: place, arrived: r.arrived, dir: r.dir, cache: r.setting.Cache, ends: map[link.Side]end{}}
	for _, side := range sides {
		o.ends[side] = r.end(side)
	}
	return o
}
