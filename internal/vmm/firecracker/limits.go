package firecracker

import (
	"time"

	"github.com/lazymig/lazymig"
)

const (
	// maxMessage bounds a message: MaxRegions regions with every key and 20
	// digits a number have about 50 KiB.
	maxMessage = 256 << 10
	// readBytes is what one read takes: nearly every message comes whole.
	readBytes = 64 << 10
	// maxDescriptors is for how many descriptors a read has room, so that one
	// too many is seen and not cut off by the kernel.
	maxDescriptors = 3
	// handoffTimeout bounds the time from the connection to the end of the
	// message. VMMs send both in one go.
	handoffTimeout = 5 * time.Second
	// emptyReads is how often a VMM may seem to have sent nothing, which
	// Firecracker before 1.12 can do, and emptyPause the time between.
	emptyReads = 5
	emptyPause = 20 * time.Millisecond
	// dialTimeout bounds the look whether somebody listens on a socket.
	dialTimeout = time.Second
	// killTimeout bounds the wait for a refused VMM to die.
	killTimeout = 10 * time.Second

	// maxAddress is one behind the last address that a process can have on
	// x86-64 with five levels of page tables.
	maxAddress = uint64(1) << 56
	// maxPageSize is the largest page of x86-64.
	maxPageSize = uint64(1) << 30
	// defaultPageSize is what versions before 1.7 have and do not say.
	defaultPageSize = uint64(lazymig.PageSize)
)
