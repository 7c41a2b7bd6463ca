package process

import "time"

const (
	// killTimeout bounds the wait for the end of a killed VMM. Freeing a large
	// guest takes the kernel seconds.
	killTimeout = 60 * time.Second

	// stopTimeout bounds the wait for a SIGSTOP to reach all threads.
	stopTimeout = 2 * time.Second

	// stopRecheck is how often that wait looks: the kernel tells only parents.
	stopRecheck = 50 * time.Microsecond

	// logTail is how much of a log goes into an error, in bytes, and logLines
	// the number of lines.
	logTail  = 4096
	logLines = 10
)
