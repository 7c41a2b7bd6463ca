package relay

import "time"

const (
	// maxDatagram is the largest UDP payload, and of a batch of datagrams that
	// the kernel hands over as one.
	maxDatagram = 64 << 10
	// smallDatagram is the size of a buffer for what comes alone: QUIC's
	// packets have at most 1452 bytes.
	smallDatagram = 2 << 10

	// queueTime bounds how long a datagram waits for the ones before it: about
	// what a switch with shallow buffers has.
	queueTime = 10 * time.Millisecond
	// batchSize is what quic-go hands to the kernel at once, and batchTime how
	// long the link may take for that. On a slower link datagrams pass one by
	// one, because a batch would be a burst.
	batchSize = 20 << 10
	batchTime = time.Millisecond
	// slack is how much too early a datagram may come out: about what it takes
	// to sleep and wake up.
	slack = 50 * time.Microsecond
	// maxWaiting bounds the bytes in one lane, buffers counted whole:
	// 1 Gbit/s with a delay of half a second.
	maxWaiting = 64 << 20

	// MinRate is the lowest rate in bytes per second: the queue then holds
	// seven full datagrams, less would starve QUIC.
	MinRate = 1_000_000
	// MaxDelay bounds the delay of one direction.
	MaxDelay = 500 * time.Millisecond

	// maxFlows bounds the clients. A migration has two to seventeen, and again
	// as many after each loss of its link.
	maxFlows = 64
	// flowIdle ends a flow over which nothing has come: far longer than QUIC
	// keeps a silent connection.
	flowIdle = 30 * time.Second

	// socketBuffer is asked of the kernel for each socket: what 1 Gbit/s
	// brings in 30 ms. The kernel gives less to ordinary users.
	socketBuffer = 4 << 20
)
