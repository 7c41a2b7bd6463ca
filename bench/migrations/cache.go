package migrations

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/lazymig/lazymig/bench/guest"
	"github.com/lazymig/lazymig/bench/link"
	"github.com/lazymig/lazymig/bench/vm"
)

// Cache is what lazymig's destination has already when the guest comes.
type Cache string

// The states of a cache. QEMU's own techniques have none.
const (
	// NoCache: both sides go without one.
	NoCache Cache = ""
	// EmptyCache has nothing; what comes is put there.
	EmptyCache Cache = "empty cache"
	// Warm is empty, and pages are pushed there before the switch.
	Warm Cache = "warm"
	// Returning has what the guest was when it left this host.
	Returning Cache = "returning"
	// SecondBoot and TenthBoot have one and nine guests before this one that
	// were booted from the same kernel and disk; the memory of their program is
	// another.
	SecondBoot Cache = "2nd boot"
	TenthBoot  Cache = "10th boot"
	// IndexedImage has indexed the image of the guest's disk, and nothing else.
	IndexedImage Cache = "image"
	// Unrelated has a guest of the same kernel that has no file and no page of its
	// program in common.
	Unrelated Cache = "unrelated"
)

// Caches lists all states.
func Caches() []Cache {
	return []Cache{NoCache, EmptyCache, Warm, Returning, SecondBoot, TenthBoot, IndexedImage, Unrelated}
}

// ParseCache returns the state with the name.
func ParseCache(name string) (Cache, error) {
	if c := Cache(name); slices.Contains(Caches(), c) {
		return c, nil
	}
	return "", fmt.Errorf("%q is no state of a cache: use %s", name, list(Caches()[1:]))
}

// cacheVariants returns what is measured of caches: a guest of which a tenth is
// written, and one full of files.
func cacheVariants(base Setting) []Setting {
	var settings []Setting
	for _, v := range []struct {
		guest  Guest
		caches []Cache
	}{
		{Tenth, []Cache{NoCache, EmptyCache, Warm, Returning, Unrelated}},
		{Files, []Cache{NoCache, SecondBoot, TenthBoot, IndexedImage, Unrelated}},
	} {
		for _, c := range v.caches {
			s := base
			s.Guest, s.Cache = v.guest, c
			settings = append(settings, s)
		}
	}
	return settings
}

// earlier returns how many guests have come before, and the seed of the i-th.
func (c Cache) earlier() (guests int, seed func(i int) int) {
	next := func(i int) int { return 1 + i }
	switch c {
	case SecondBoot:
		return 1, next
	case TenthBoot:
		return 9, next
	case Unrelated:
		return 1, next
	case NoCache, EmptyCache, Warm, Returning, IndexedImage:
	}
	return 0, nil
}

// args returns the options for send and receive on a host. before says that the
// move is not the measured one: a guest that is to return leaves its pages then,
// which would be a part of the measured move's time.
func (c Cache) args(e end, before bool) (send, receive []string) {
	kept := []string{"--cache-dir", e.cacheDir(), "--cache-size", cacheSize}
	switch c {
	case NoCache:
		return nil, nil
	case EmptyCache:
		return nil, []string{"--cache-size", cacheSize}
	case Warm:
		return []string{"--warm"}, []string{"--cache-size", cacheSize}
	case Returning:
		if before {
			return kept, nil
		}
	case SecondBoot, TenthBoot, IndexedImage, Unrelated:
	}
	return nil, kept
}

// least returns what part of a guest's memory has to come out of the cache for
// the run to be what it is called.
func (c Cache) least() float64 {
	switch c {
	case Returning, Warm, SecondBoot, TenthBoot, IndexedImage:
		return 0.05
	case NoCache, EmptyCache, Unrelated:
	}
	return 0
}

func (e end) cacheDir() string { return filepath.Join(e.dir, "cache") }

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
	if err == nil {
		err = before.travel(ctx)
	}
	if before.pair != nil {
		err = errors.Join(err, before.pair.Close())
	}
	return errors.Join(err, before.forget())
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
	case NoCache, EmptyCache, Warm, SecondBoot, TenthBoot, Unrelated:
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

// cacheSize is the size of caches: more than two guests.
const cacheSize = "4GiB"

// historyTimeout bounds everything before the guest that is measured.
const historyTimeout = 15 * time.Minute
