package paths

import "time"

const (
	// pageBytes is the size of a page.
	pageBytes = 4096

	// idleSettle is how long after the hand-off touching begins if there is no
	// background: the engine has a link by then, on the longest path.
	idleSettle = 600 * time.Millisecond

	// measureTimeout bounds one measurement. The longest move 128 MiB at
	// 100 Mbit/s, in eleven seconds, or at 1 % loss.
	measureTimeout = 2 * time.Minute

	// maxSamples bounds the faults of one thread that are kept.
	maxSamples = 1 << 20

	// identityValidity outlasts any run.
	identityValidity = 7 * 24 * time.Hour

	// memoryDir is a tmpfs on every Linux.
	memoryDir = "/dev/shm"

	// procsPerCore and minProcs size GOMAXPROCS of every handler and server as
	// lazymig's engine does.
	procsPerCore = 4
	minProcs     = 8

	// touchProcs is GOMAXPROCS of the process that touches memory: a thread
	// that waits for a page keeps its P.
	touchProcs = 64

	// drainFrom and drainTo are the part of a drain whose rate is judged: the
	// engine holds its background back behind a resume, and the last pages are
	// not enough for all connections. The rate of the whole stands beside it.
	drainFrom, drainTo = 0.1, 0.9

	// rawRoundTrips is for a measurement of bulk, which wants none.
	rawRoundTrips = 1

	// flowSettle is how long TCP flows run before they count: slow start, and
	// some losses.
	flowSettle = 2 * time.Second

	// flowChunk is what a TCP flow writes or reads at once, in bytes.
	flowChunk = 64 << 10

	// maxFlows bounds the TCP flows of one measurement.
	maxFlows = 64

	quickRounds = 1
	fullRounds  = 3

	// maxRounds bounds --repeat.
	maxRounds = 100
)

// scale is how long measurements are.
type scale struct {
	// budget is how long threads touch pages, or flows run.
	budget time.Duration
	// busySettle is how long after the hand-off touching begins beside a
	// background, which is held back at first and grows to the link's rate.
	busySettle time.Duration
	// The memory of a measurement, in pages: of faults without a background,
	// beside one, of a drain, of one over a slow or lossy link, and of one that
	// is read from end to end.
	fault, busy, drain, slow, sweep int
}

// quick is for a run of less than twenty seconds, full for one whose figures
// count: 640 MiB last over five seconds at 1 Gbit/s.
var (
	quick = scale{budget: 400 * time.Millisecond, busySettle: 600 * time.Millisecond, fault: 16 << 10, busy: 48 << 10, drain: 24 << 10, slow: 2 << 10, sweep: 4 << 10}
	full  = scale{budget: 3 * time.Second, busySettle: time.Second, fault: 64 << 10, busy: 160 << 10, drain: 128 << 10, slow: 32 << 10, sweep: 64 << 10}
)
