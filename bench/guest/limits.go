package guest

import "time"

const (
	// lockPoll is how often a builder looks whether another one has finished.
	// A build takes seconds, so a finer step would gain nothing.
	lockPoll = 50 * time.Millisecond

	// maxModule bounds one kernel module that is packed, in bytes: the virtio
	// modules have at most 200 KiB, so more is not the file that we look for.
	maxModule = 16 << 20

	// filesImageMiB is the size of the image of Files; what the files do not
	// need is a hole.
	filesImageMiB = 640

	// scanChunk is how much of a RAM file FindPage reads at once, in bytes.
	scanChunk = 1 << 20
)
