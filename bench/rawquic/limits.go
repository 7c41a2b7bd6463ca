package rawquic

import "time"

const (
	// window is the flow-control window of stream and connection in bytes,
	// the same as lazymig's own: more than a link of 10 Gbit/s and 10 ms holds.
	window = 16 << 20

	// chunk is how much is written or read at once, in bytes: beyond 64 KiB
	// nothing gets faster.
	chunk = 64 << 10

	// pageBytes is the size of an answer in the round trips.
	pageBytes = 4096

	// setUpTimeout bounds the start of a child and the handshake.
	setUpTimeout = 10 * time.Second
)
