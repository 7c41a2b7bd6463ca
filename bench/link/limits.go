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

	// rateQueue is the queue before a limited rate, as the time that it takes to
	// send: what does not fit is dropped. A switch of a data centre has some
	// milliseconds; a deeper queue would be a delay that nobody asked for.
	// rateBurst is what passes at once after silence: what comes in one timer
	// tick. Slow links need room for the largest segments that the kernel keeps
	// whole, in bytes.
	rateQueue = 10 * time.Millisecond
	rateBurst = 4 * time.Millisecond
	minBurst  = 16 << 10
	minQueue  = 64 << 10

	// probeTimeout bounds the wait for a new cable: the kernel takes up to a
	// second. probePeriod is the time between two probes, and more than a path's
	// delay may make them look at an answer to an earlier one, which is as good.
	probeTimeout = 10 * time.Second
	probePeriod  = 50 * time.Millisecond

	// maxDelay bounds the delay of a path in one direction, jitter included.
	maxDelay = time.Second
	// maxFrames bounds the frames on their way in one direction: 1 Gbit/s for
	// 390 ms.
	maxFrames = 32 << 10
	// maxTapFrame is the size of an Ethernet frame with an MTU of 1500, and what
	// a VLAN would add, in bytes.
	maxTapFrame = 1600
	// tapQueue is the kernel's queue before the relay, in packets: 1 Gbit/s for
	// 50 ms, in case the relay does not get a processor.
	tapQueue = 4096
)
