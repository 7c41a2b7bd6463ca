package doctor

import "time"

const (
	// guestTimeout bounds the examination of a running guest: some tens of
	// questions, each answered within milliseconds by a monitor that works.
	guestTimeout = 15 * time.Second

	// listenTimeout bounds the look-up of the name in --listen.
	listenTimeout = 5 * time.Second

	// syncs is how many records are forced to the disk to measure it, and
	// slowSync the median from which on it shows: two of them lie between the
	// guest's stop and its resume.
	syncs    = 16
	slowSync = 5 * time.Millisecond

	// syncBytes is the size of a record of the journal.
	syncBytes = 512

	// minStateBytes is what the state directory should have free: the longest
	// device state (256 MiB) and the logs.
	minStateBytes = 320 << 20

	// smallestGuest is the RAM in bytes that a guest has at least; a host with
	// less room takes none.
	smallestGuest = 16 << 20

	// maxSocketPath is the longest path of a UNIX socket in bytes, and
	// shortName the name of a VM for which there should be room in it.
	maxSocketPath = 107
	shortName     = 16

	// socketBuffer is what quic-go wants for the buffers of a UDP socket, in
	// bytes, as the kernel counts them.
	socketBuffer = 7 << 20

	// minOpenFiles is enough for QEMU with many disks and queues, and for the
	// connections of a migration.
	minOpenFiles = 1024

	// expirySoon is the time before its end in which a certificate should be
	// replaced.
	expirySoon = 14 * 24 * time.Hour

	// oomScore is what the engine asks the out-of-memory killer for.
	oomScore = -900

	// coarseClock is the resolution from which on the times in reports are
	// of little use.
	coarseClock = time.Millisecond
)
