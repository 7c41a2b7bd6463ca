package plainpages

import "time"

const (
	// pageBytes is the size of an answer.
	pageBytes = 4096

	// requestBytes is the size of a request.
	requestBytes = 8

	// setUpTimeout bounds a handshake.
	setUpTimeout = 10 * time.Second

	// idleTimeout ends a QUIC connection that nobody uses: longer than any
	// pause between two faults of a measurement.
	idleTimeout = time.Minute
)
