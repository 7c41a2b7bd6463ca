package migrations

import "time"

const (
	// unlimited is QEMU's max-bandwidth in bytes per second: more than any link
	// has.
	unlimited = 1 << 40
	// multifdChannels is QEMU's number of connections for pre-copy. Two are its
	// default, and as many as the smallest machine has processors.
	multifdChannels = 2

	// warmUp is how many heartbeats pass before anything is measured, baseline
	// how many the guest's speed is measured over: 1 s and 2 s.
	warmUp   = 1000
	baseline = 2000

	// floorStops is how often the guest is stopped in place for the floor, and
	// floorBeats how many heartbeats are between.
	floorStops = 5
	floorBeats = 100

	// seriesStep is the time of one Point; recoveryWindow is what the speed
	// after a switch is measured over: long enough for the scheduler of a busy
	// machine, short beside a recovery. recoveredShare is the share of the
	// former speed that counts as back.
	seriesStep     = 10 * time.Millisecond
	recoveryWindow = 100 * time.Millisecond
	recoveredShare = 0.9
	// seriesBefore and seriesAfter bound the series around the stop.
	seriesBefore = time.Second
	seriesAfter  = 30 * time.Second

	// recoverTimeout bounds the wait for the guest's former speed behind the
	// end of the move.
	recoverTimeout = 20 * time.Second

	// silenceTimeout bounds the wait for a second of heartbeats behind the end of
	// the move.
	silenceTimeout = 30 * time.Second

	// moveTimeout and moveFactor bound a move: this long, and as many times as
	// long as the link needs for all of the guest's memory once. A pre-copy that
	// has not come to its end by then does not converge.
	moveTimeout = 30 * time.Second
	moveFactor  = 4
	// bootTimeout bounds everything else in a run.
	bootTimeout = 2 * time.Minute

	// lossyRate is the rate in bytes per second that is expected at least of a
	// long or lossy path, for moveTimeout.
	lossyRate = 10_000_000

	// maxEvents bounds the unread events of a monitor: pre-copy tells each pass.
	maxEvents = 4096
	// maxLine bounds a line of a command's or a file's output in bytes.
	maxLine = 4 << 20
	// maxStderr bounds what is kept of a command's messages, in bytes.
	maxStderr = 16 << 10

	// certificateDays is how long the certificates of one run are valid.
	certificateDays = 24 * time.Hour
)

// maxExplanation bounds what a record keeps of a VMM's and a guest's last
// words, in bytes.
const maxExplanation = 2000
