package paths

import "github.com/lazymig/lazymig/bench/machine"

// Kinds of Event.
const (
	// EventStart: the run begins; Machine and Total are set.
	EventStart = "start"
	// EventMeasured: one case was measured once; Measured is set.
	EventMeasured = "path"
	// EventFailed: one could not be; Failed is set.
	EventFailed = "failed"
	// EventReport: the run is over; Report is set.
	EventReport = "report"
)

// Event is one line of what a run tells. The names of the fields are stable.
type Event struct {
	Event   string        `json:"event"`
	Machine *machine.Info `json:"machine,omitempty"`
	// Total is how many measurements there will be.
	Total    int       `json:"total,omitempty"`
	Measured *Measured `json:"measured,omitempty"`
	Failed   *Failed   `json:"failed,omitempty"`
	Report   *Report   `json:"report,omitempty"`
}

// Figure is the name of a figure of a case.
type Figure string

// The figures. Not every case has all.
const (
	// Count is how many faults or round trips there were, the next ones how long
	// they took, in µs. P999 is left out if there were too few.
	Count Figure = "count"
	P50   Figure = "p50_us"
	P99   Figure = "p99_us"
	P999  Figure = "p999_us"
	Max   Figure = "max_us"
	// PerSecond counts the faults of all threads.
	PerSecond Figure = "faults_per_second"
	// Unfairness is the longest mean wait of a thread over the median one.
	Unfairness Figure = "unfairness"
	// PagesPerSecond counts the pages that were read, faults or not.
	PagesPerSecond Figure = "pages_per_second"
	// Rate is the guest memory that came each second: while threads touched, of
	// a drain between a tenth and nine tenths. Of the others it is their bytes.
	Rate Figure = "bytes_per_second"
	// BulkRate is the part of it that the background brought.
	BulkRate Figure = "bulk_bytes_per_second"
	// WholeRate is that of a drain from the hand-off to the last page.
	WholeRate Figure = "whole_bytes_per_second"
	// WireRate is what the destination's cable counted while threads touched, or
	// over a whole drain, packet headers included.
	WireRate Figure = "wire_bytes_per_second"
	// CPU is what source and destination used for each GiB of guest memory.
	CPU Figure = "cpu_seconds_per_gib"
	// Connections is how many carried the background, or the TCP flows.
	Connections Figure = "connections"
	// RelayDropped counts frames for which the relay had no room: a loss that
	// nobody asked for.
	RelayDropped Figure = "relay_dropped"
)

// Figures are what was measured of a case.
type Figures map[Figure]float64

// Measured is one measurement of one case.
type Measured struct {
	Case
	Round   int     `json:"round"`
	Figures Figures `json:"figures"`
}

// Failed is one that could not be measured.
type Failed struct {
	Case
	Round int    `json:"round"`
	Error string `json:"error"`
}

// Report is what all rounds together say.
type Report struct {
	// Kind is "paths": files of several measurements can be told apart.
	Kind    string       `json:"kind"`
	Machine machine.Info `json:"machine"`
	Quick   bool         `json:"quick"`
	Rounds  int          `json:"rounds"`
	Goals   []Goal       `json:"goals"`
	Results []Result     `json:"results"`
	Failed  []Failed     `json:"failed,omitempty"`
	// Skipped says what was not measured, and why.
	Skipped []Skipped `json:"skipped,omitempty"`
	Seconds float64   `json:"seconds"`
}

// ReportKind is the Kind of a Report of this package.
const ReportKind = "paths"

// Skipped is something that was not measured.
type Skipped struct {
	What string `json:"what"`
	Why  string `json:"why"`
}

// Result is one case over all rounds.
type Result struct {
	Case
	Stats map[Figure]Stat `json:"figures"`
}

// Stat is the median of a figure over the rounds, its least and its greatest.
type Stat struct {
	Median float64 `json:"median"`
	Least  float64 `json:"least"`
	Most   float64 `json:"most"`
	Rounds int     `json:"rounds"`
}

// Goal is one figure beside its limit. Both are computed in each round by
// itself, from what was measured in that round.
type Goal struct {
	Group string `json:"group"`
	What  string `json:"what"`
	Value Stat   `json:"value"`
	// Limit is left out for a figure that is only told.
	Limit *Stat `json:"limit,omitempty"`
	// AtLeast: Value should not be below Limit. Else it should not be above.
	AtLeast bool `json:"at_least,omitempty"`
	// LimitIs says how Limit comes about, if it is not the same always.
	LimitIs string `json:"limit_is,omitempty"`
	// Met compares the medians. A Value without a round is never met.
	Met bool `json:"met,omitempty"`
}
