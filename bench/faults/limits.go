package faults

import "time"

const (
	// pageBytes is the size of a page.
	pageBytes = 4096

	// memoryPages is the memory of a measurement: 256 MiB, what lazymig's
	// background takes about a second for on loopback.
	memoryPages = 64 << 10

	// idleBandwidth keeps lazymig's background from mattering, in bytes per
	// second: its requests of 64 pages go out once in four seconds.
	idleBandwidth = 64 << 10

	// settleTime is how long after the hand-off touching begins when the link
	// is to be busy: lazymig holds its background back for 200 ms behind a
	// resume.
	settleTime = 300 * time.Millisecond

	// recipeTime is how long after the hand-off touching begins when the pages
	// are to come out of the cache: the source tells what they are 200 ms behind
	// it, and hashes memoryPages in half a second, or more on busy cores.
	recipeTime = 4 * time.Second

	// measureTimeout bounds one measurement beyond its budget. A handler that
	// died leaves threads that wait for ever.
	measureTimeout = 30 * time.Second

	// maxSamples bounds the faults of one thread that are kept.
	maxSamples = 1 << 20

	// procsPerCore and minProcs size GOMAXPROCS of every handler and server as
	// lazymig's engine does: a thread that comes back from a system call needs
	// a free P.
	procsPerCore = 4
	minProcs     = 8

	// touchProcs is GOMAXPROCS of the process that touches memory: a thread
	// that waits for a page keeps its P.
	touchProcs = 64

	// p999Samples is how many faults p99.9 needs to mean something.
	p999Samples = 1000

	// curvePoints is how finely a distribution is kept for the plot.
	curvePoints = 100

	// quickBudget and fullBudget are how long the threads of one measurement
	// touch pages.
	quickBudget = 300 * time.Millisecond
	fullBudget  = time.Second

	quickRepeats = 1
	fullRepeats  = 3

	// maxRepeats bounds --repeat: with all cases that is most of a day.
	maxRepeats = 100
)
