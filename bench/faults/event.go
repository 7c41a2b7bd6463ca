package faults

import (
	"github.com/lazymig/lazymig/bench/machine"
)

// Kinds of Event.
const (
	// EventStart: the run begins; Machine and Cases are set.
	EventStart = "start"
	// EventMeasured: one case was measured once; Measured is set.
	EventMeasured = "faults"
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
	Report   *Report   `json:"report,omitempty"`
}

// Measured is one measurement of one case.
type Measured struct {
	Case
	Repeat int `json:"repeat"`
	Summary
	// BulkBytesPerSecond is what the background moved meanwhile.
	BulkBytesPerSecond float64 `json:"bulk_bytes_per_second,omitempty"`
}

// Report is what all repeats together say.
type Report struct {
	// Kind is "faults": files of several measurements can be told apart.
	Kind    string       `json:"kind"`
	Machine machine.Info `json:"machine"`
	Quick   bool         `json:"quick"`
	Repeats int          `json:"repeats"`
	Results []Result     `json:"results"`
	// Skipped says what was not measured, and why.
	Skipped []Skipped `json:"skipped,omitempty"`
	Seconds float64   `json:"seconds"`
}

// ReportKind is the Kind of a Report of this package.
const ReportKind = "faults"

// Result is one case over all repeats.
type Result struct {
	Case
	Summary
	// P50Range is the least and the greatest median of a repeat.
	P50Range [2]float64 `json:"p50_range_us"`
	// Limit is what cannot be undercut: the floor, and over a network the
	// median round trip of the same transport on top. 0: it is one itself.
	Limit float64 `json:"limit_us,omitempty"`
	// OverLimit is the median divided by Limit.
	OverLimit float64 `json:"over_limit,omitempty"`
	// BulkBytesPerSecond is what the background moved meanwhile, on average.
	BulkBytesPerSecond float64 `json:"bulk_bytes_per_second,omitempty"`
	Curve              []Point `json:"curve"`
}

// Skipped is something that was not measured.
type Skipped struct {
	What string `json:"what"`
	Why  string `json:"why"`
}
