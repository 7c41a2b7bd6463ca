package host

import "time"

const (
	// samplePeriod is the time between two looks at the costs of processes: the
	// last of them before a process ends counts. discoverEvery is how many of
	// them pass between two searches for new processes.
	samplePeriod  = 20 * time.Millisecond
	discoverEvery = 10

	// clearRounds bounds how often processes that have been started meanwhile
	// are looked for when all are to end.
	clearRounds = 5
)
