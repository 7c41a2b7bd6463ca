package qemu

import "time"

const (
	// startTimeout bounds the start of QEMU up to its monitor's first answer.
	// Mapping 64 GiB of files takes milliseconds; loading big firmware and
	// opening slow disks takes seconds.
	startTimeout = 30 * time.Second

	// probeTimeout bounds Probe: QEMU without a machine answers within a tenth
	// of a second, on a loaded host within seconds.
	probeTimeout = 15 * time.Second

	// dialInterval is the pause between two attempts to reach the monitor of
	// a QEMU that is starting. It adds to the preparation, not to the
	// blackout.
	dialInterval = 5 * time.Millisecond

	// tailTimeout bounds the wait until QEMU has read the device state: it may
	// wait for pages of the guest meanwhile. tailRecheck is inside the blackout.
	tailTimeout = 30 * time.Second
	tailRecheck = 100 * time.Microsecond

	// drainTimeout bounds the wait for the second sign of QEMU's end, its
	// process's or its monitor's, after the first. They come together, unless
	// the kernel has much memory to free or another process holds a copy of
	// the monitor's socket.
	drainTimeout = 5 * time.Second

	// armTimeout bounds Arm, which takes milliseconds with a QEMU that is not
	// stopped by somebody else.
	armTimeout = 10 * time.Second

	// settleTimeout bounds putting QEMU's migration settings back, which a
	// hung monitor must not delay for long.
	settleTimeout = 5 * time.Second

	// eventBuffer is the number of unread events that a subscription holds.
	// Its reader does nothing that blocks, so this is only for bursts.
	eventBuffer = 1024

	// maxSizeDigits bounds the number in a size on the command line; the
	// largest size of 64 bits has 20 digits.
	maxSizeDigits = 32

	// maxTag bounds the tag in the names of RAM files, so that a long
	// mem-path still fits into a file name.
	maxTag = 64

	// maxMonitorPath is the longest path of a UNIX socket, in bytes.
	maxMonitorPath = 107

	// sparePercent is added to what the source has allocated when room for the
	// guest is looked for: it touches more while its memory arrives.
	sparePercent = 5
)
