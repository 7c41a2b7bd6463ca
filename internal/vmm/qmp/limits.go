package qmp

import "time"

const (
	// greetingTimeout bounds the wait for the greeting. A monitor that nobody
	// else holds greets as soon as QEMU's main loop turns, within
	// milliseconds; one that is in use never does.
	greetingTimeout = 2 * time.Second

	// commandTimeout bounds a command whose context has no deadline, so that
	// a hung monitor cannot hang its caller. The slowest commands in use wait
	// for disks to be flushed.
	commandTimeout = 30 * time.Second

	// maxMessage bounds one line of the monitor, in bytes. The longest known
	// answers (query-qmp-schema, query-block with deep backing chains) stay
	// below 1 MiB.
	maxMessage = 16 << 20

	// maxPending bounds the commands that wait for an answer at the same
	// time, the ones given up included until their late answer comes.
	maxPending = 256

	// maxSocketPath is the longest path that fits into a UNIX socket address.
	maxSocketPath = 107
)
