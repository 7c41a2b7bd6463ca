package migrations

import (
	"fmt"
	"slices"

	"github.com/lazymig/lazymig/bench/guest"
)

// Guest is what the guest does while it moves.
type Guest string

// The guests. Each fills its memory when it starts; half of the pages
// compress unless something else is said.
const (
	// RandomWriter writes pages at random as fast as it can.
	RandomWriter Guest = "random"
	// SequentialWriter writes one page after the other.
	SequentialWriter Guest = "sequential"
	// Idle writes nothing but its heartbeat.
	Idle Guest = "idle"
	// MostlyZero leaves its memory zero but for a sixteenth, which it writes at
	// random.
	MostlyZero Guest = "zero"
	// Incompressible is RandomWriter in a memory of which no page compresses.
	Incompressible Guest = "incompressible"
	// Tenth is RandomWriter in a tenth of its memory.
	Tenth Guest = "tenth"
	// Reader reads pages at random in all of its memory, and writes a tenth of it.
	Reader Guest = "reader"
	// Files has its memory full of a Debian userland's files, and writes a
	// sixteenth of the other guests' memory at random.
	Files Guest = "files"
)

// Guests lists all guests.
func Guests() []Guest {
	return []Guest{RandomWriter, SequentialWriter, Idle, MostlyZero, Incompressible, Tenth, Reader, Files}
}

// ParseGuest returns the guest with the name.
func ParseGuest(name string) (Guest, error) {
	if g := Guest(name); slices.Contains(Guests(), g) {
		return g, nil
	}
	return "", fmt.Errorf("%q is no guest: use %s", name, list(Guests()))
}

// params returns what the guest's program is told.
func (s Setting) params() guest.Params {
	p := guest.Params{MemoryMiB: s.ChangingMiB, Seed: s.seed}
	switch s.Guest {
	case SequentialWriter:
		p.Sequential = true
	case MostlyZero:
		p.Pattern, p.HotMiB = guest.PatternZero, max(1, s.ChangingMiB/16)
	case Tenth, Reader:
		p.HotMiB, p.Read = max(1, s.ChangingMiB/10), s.Guest == Reader
	case Files:
		p.MemoryMiB = max(1, s.ChangingMiB/16)
	case Incompressible:
		p.Pattern = guest.PatternRandom
	case RandomWriter, Idle:
	}
	return p
}
