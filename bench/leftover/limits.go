package leftover

import "time"

const (
	// killTimeout bounds the wait for a killed process: SIGKILL works at once
	// unless the process is in the kernel, at a disk or a page.
	killTimeout = 10 * time.Second

	// guardTimeout bounds the clean-up after a signal: a person waits for it.
	guardTimeout = 30 * time.Second
)
