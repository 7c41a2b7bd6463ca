package uffd

import "time"

const (
	// readMessages is how many messages one read(2) can fetch. A guest has at
	// most one fault outstanding per thread, so one call is nearly always
	// enough; 64 messages are 2 KiB.
	readMessages = 64

	// maxBatchMessages bounds what one Reader.Read returns, so that a VMM that
	// removes memory in a loop cannot keep its reader from returning. What is
	// left over makes the next Read return at once.
	maxBatchMessages = 4096

	// maxMaps bounds what is read of another process's list of mappings. A
	// line has about 100 bytes and the kernel's default limit is 65 530 lines.
	maxMaps = 64 << 20

	// maxVDSO bounds the size of a vDSO; real ones have two pages.
	maxVDSO = 1 << 20

	// firstPause and maxPause are the limits of the pause between two looks
	// for a stop. A thread in a system call stops within tens of microseconds.
	firstPause = 20 * time.Microsecond
	maxPause   = time.Millisecond

	// restoreGrace is how long CreateIn goes on trying to put registers back
	// after its context has ended. Giving up earlier would kill the process.
	restoreGrace = 2 * time.Second
)
