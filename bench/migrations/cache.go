package migrations

import (
	"fmt"
	"path/filepath"
	"slices"
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
	// Forked has another clone of the guest: both were one until seconds before,
	// and go on from its snapshot.
	Forked Cache = "fork"
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
	return []Cache{NoCache, EmptyCache, Warm, Returning, Forked, SecondBoot, TenthBoot, IndexedImage, Unrelated}
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
		{Tenth, []Cache{NoCache, EmptyCache, Warm, Returning, Forked, Unrelated}},
		{Reader, []Cache{NoCache, Returning}},
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
	case Forked:
		return 1, func(int) int { return 0 }
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
	case Forked, SecondBoot, TenthBoot, IndexedImage, Unrelated:
	}
	return nil, kept
}

// least returns what part of a guest's memory has to come out of the cache for
// the run to be what it is called.
func (c Cache) least() float64 {
	switch c {
	case Returning, Forked, Warm, SecondBoot, TenthBoot, IndexedImage:
		return 0.05
	case NoCache, EmptyCache, Unrelated:
	}
	return 0
}

func (e end) cacheDir() string { return filepath.Join(e.dir, "cache") }

// cacheSize is the size of caches: more than two guests.
const cacheSize = "4GiB"
