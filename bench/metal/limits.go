package metal

import "time"

const (
	// maxLine bounds a line of JSON, chunk the part of a file or stream in it, in
	// bytes: base64 makes it longer by a third.
	maxLine = 1 << 20
	chunk   = 256 << 10
	// maxTail bounds the end of a file that fits into a line however its bytes
	// are written.
	maxTail = 128 << 10
	// maxGreeting bounds what a shell may say before the helper does, in bytes.
	maxGreeting = 64 << 10
	// maxSaid bounds what is kept of ssh's messages, in bytes.
	maxSaid = 4 << 10

	// connectTimeout bounds the way to a helper that runs: the handshakes, and
	// some 30 MB over a slow line.
	connectTimeout = 2 * time.Minute
	// callTimeout bounds an answer that takes no time by itself: a QEMU's memory
	// has to be given back, or a file of a chunk written.
	callTimeout = time.Minute
	// closeTimeout bounds the wait for a helper that was told to end.
	closeTimeout = 20 * time.Second

	// partingTimeout bounds the wait for the last words of an ssh that has failed.
	partingTimeout = 2 * time.Second

	// pingPeriod is how often a helper hears of its driver, silence when it gives
	// it up: ssh itself finds a dead line in 15 s.
	pingPeriod = 2 * time.Second
	silence    = 20 * time.Second

	// clockRounds is how many round trips a comparison of clocks takes: the one
	// with the shortest way counts.
	clockRounds = 16

	// reachTimeout bounds the wait for an answer of the other host.
	reachTimeout = 3 * time.Second
	// reachTries is how often a datagram is sent in that time.
	reachTries = 3

	// memoryReserve is what has to be free in /dev/shm beside the guest's
	// memory, as a divisor of it.
	memoryReserve = 10
)
