package vm

import "time"

const (
	// maxLog bounds what is kept of the guest's kernel messages and QEMU's
	// own, in bytes: a crash's report fits.
	maxLog = 64 << 10

	// maxAnswers bounds the answers that nobody has asked for yet: READY, and
	// those of commands whose context ended.
	maxAnswers = 16

	// exitTimeout bounds the wait for a QEMU that was told to power off.
	exitTimeout = 10 * time.Second
)
