package qemu

import "time"

const (
	// maxStream bounds the device state in bytes. It is a few hundred KiB
	// plus the video memory; more means that RAM is in the stream.
	maxStream = 256 << 20

	// relayBuffer is how much of the device state is handed on at once.
	relayBuffer = 64 << 10

	// captureEvents holds the events of one capture. QEMU makes about ten; the
	// rest is for busy guests (balloon, block jobs).
	captureEvents = 256

	// captureTimeout bounds Freeze if its caller sets no deadline. It covers
	// the streaming of video memory before the guest stops.
	captureTimeout = 30 * time.Second

	// thawTimeout bounds Thaw if its caller sets no deadline.
	thawTimeout = 30 * time.Second

	// thawRecheck is how long Thaw waits for an event before it looks at the
	// state again: QEMU reports some changes by no event.
	thawRecheck = 5 * time.Millisecond

	// continueGrace is how long a migration may take to leave pre-switchover
	// before it is told again.
	continueGrace = 200 * time.Millisecond

	// killTimeout bounds the wait for the end of a killed VMM. Freeing a large
	// guest takes the kernel seconds.
	killTimeout = 60 * time.Second

	// exitGrace is how long a VMM that hung up may take to be reported as
	// ended.
	exitGrace = time.Second

	// maxRings is from how many pages of virtio rings on no more are looked for.
	maxRings = 1024

	// likelyTimeout bounds the look for pages that the guest is likely to touch, and
	// that for its rings. Each takes some milliseconds.
	likelyTimeout = time.Second

	// maxDevices bounds the devices that are looked at.
	maxDevices = 4096
)
