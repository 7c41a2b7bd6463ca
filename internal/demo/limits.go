package demo

import "time"

const (
	// MinMemory still takes a moment to move. MaxMemory is what the microvm
	// has at most; it moves in a quarter of a minute at the default rate.
	MinMemory = 16 << 20
	MaxMemory = 2 << 30
	// DefaultMemory, DefaultRate and DefaultRTT make a move of two or three
	// seconds over a common network: long enough to watch.
	DefaultMemory = 256 << 20
	DefaultRate   = 125_000_000
	DefaultRTT    = time.Millisecond

	// minBreakDrain is how long the drain must take, at the least, for its
	// link to be cut in the middle of it.
	minBreakDrain = time.Second
	// breakShare of the memory has arrived when the link is cut.
	breakShare = 0.4
	// MaxBreak is below what anybody wants to watch.
	MaxBreak = 5 * time.Minute

	// MapCells is the size of the page map: 8 lines of 64 cells.
	MapCells = 512

	// measureTime is how long the guest's speed is measured before the move
	// and after it. It runs a third of that first.
	measureTime = 1500 * time.Millisecond
	// silentTimeout is how long a guest that runs may be silent.
	silentTimeout = 10 * time.Second
	// stillTime without a page operation is a guest that stands still, not one
	// that is slow.
	stillTime = 100 * time.Millisecond
	// sampleTime is how often speed and progress are told.
	sampleTime = 200 * time.Millisecond
	// bootBeats says that a guest runs.
	bootBeats = 50

	// bootTimeout bounds the boot of a guest: an emulated one takes seconds,
	// and its kernel may have to be downloaded first.
	bootTimeout = 3 * time.Minute
	// lowestPort is the lowest port for the destination, above those of common
	// services. portTries bounds the search for one that is free.
	lowestPort = 20_000
	portTries  = 100
	// listenTimeout bounds the start of `lazymig receive`.
	listenTimeout = 30 * time.Second
	// moveTimeout bounds a move beside what its bytes and a broken link take.
	moveTimeout = time.Minute
	// slowest is the part of the link's rate that a move has at the least, and
	// leastPerTrip how many bytes move in a round trip.
	slowest      = 0.1
	leastPerTrip = 1 << 20
	// verifyTimeout bounds the verification of a guest.
	verifyTimeout = time.Minute
	// endTimeout bounds the wait for processes that end by themselves.
	endTimeout = 15 * time.Second
	// killTimeout bounds the end of what was killed.
	killTimeout = 15 * time.Second
	// killPoll is how often a process that ends is looked for.
	killPoll = 5 * time.Millisecond

	// maxLine bounds a line that a command prints: a page map has 200 KiB.
	maxLine = 4 << 20
	// maxStderr bounds what is kept of a command's messages.
	maxStderr = 8 << 10

	// spaceSlack is what a move takes in tmpfs beside the guest's memory at
	// both hosts: bitmaps, and room not to fill it to the last byte.
	spaceSlack = 16 << 20
	// socketPath is the longest path that a UNIX socket can have.
	socketPath = 107
	// longestSocket is the longest path of a socket below a workplace.
	longestSocket = len("/destination/vm/demo/engine.sock")
	// youngPlace is the age below which a workplace without a lock may still
	// be being made.
	youngPlace = time.Minute
)
