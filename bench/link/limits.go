package link

import "time"

const (
	// closeTimeout bounds the removal of the namespaces: a few runs of ip.
	closeTimeout = 30 * time.Second

	// echoPeriod is the time between two messages of an Echo: fine enough to
	// see a stall of 10 ms, and no load for an emulated guest.
	echoPeriod = 5 * time.Millisecond

	// echoTimeout bounds one echo. A TCP connection that survives sends again
	// after 0.2, 0.4, 0.8 … seconds, and the link may be cut for 10 seconds.
	echoTimeout = 60 * time.Second

	// maxFrame is the size of the buffer for captured frames: an Ethernet
	// header is all that is looked at.
	maxFrame = 256

	// maxSeen bounds the frames that a Capture describes; all are counted.
	maxSeen = 16

	// rateBurst and rateLatency are tbf's bucket in bytes and its longest
	// queue. The bucket must hold what comes in one timer tick (4 ms) at
	// 1 Gbit/s.
	rateBurst   = 512 << 10
	rateLatency = 50 * time.Millisecond
)
