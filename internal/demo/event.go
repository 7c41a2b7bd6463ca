package demo

import (
	"time"

	"github.com/lazymig/lazymig/internal/migrate"
)

// Kinds of Event, in the order in which they come.
const (
	// EventBegin has About: what will be shown.
	EventBegin = "begin"
	// EventRunning: the guest runs at the source, with Speed and VCPU.
	EventRunning = "running"
	// EventSwitch: the guest is about to be switched over.
	EventSwitch = "switch"
	// EventSwitched: its heartbeat comes from the destination, after Gap.
	EventSwitched = "switched"
	// EventProgress has Progress; it comes several times a second.
	EventProgress = "progress"
	// EventCut: the link was cut. EventWhole: it is whole again.
	EventCut   = "link-cut"
	EventWhole = "link-whole"
	// EventStall: the guest has gone on after the cut, with Stall.
	EventStall = "stall"
	// EventArrived: the destination needs the source no more, with Progress.
	EventArrived = "arrived"
	// EventVerifying: the guest is being verified, with Speed and VCPU.
	// EventVerified: with Verified.
	EventVerifying = "verifying"
	EventVerified  = "verified"
	// EventReport is the last, with Report.
	EventReport = "report"
)

// Event is one line of the story.
type Event struct {
	Event string    `json:"event"`
	Time  time.Time `json:"time"`

	About    *About    `json:"about,omitempty"`
	Speed    float64   `json:"operations_per_second,omitempty"`
	VCPU     string    `json:"vcpu,omitempty"`
	GapMS    float64   `json:"heartbeat_gap_ms,omitempty"`
	Progress *Progress `json:"progress,omitempty"`
	Stall    *Stall    `json:"stall,omitempty"`
	Verified *Verified `json:"verified,omitempty"`
	Report   *Report   `json:"report,omitempty"`
}

// About says what is shown.
type About struct {
	// Name is that of the folders which the run makes in /dev/shm and in the
	// folder for temporary files. Its processes have LAZYMIG_DEMO=Name.
	Name string `json:"name"`
	VMM  string `json:"vmm"`
	// Guest describes the guest in some words.
	Guest       string  `json:"guest"`
	MemoryBytes uint64  `json:"memory_bytes"`
	LinkRate    uint64  `json:"link_bytes_per_second"`
	LinkRTTMS   float64 `json:"link_round_trip_ms"`
	BreakMS     float64 `json:"break_link_ms,omitempty"`
}

// Progress is how far the memory is.
type Progress struct {
	migrate.Progress
	Map *migrate.PageMap `json:"map,omitempty"`
	// SinceMS is the time since the first heartbeat at the destination.
	SinceMS float64 `json:"since_ms"`
	// Speed is that of the guest in the last fraction of a second, in page
	// operations per second.
	Speed float64 `json:"operations_per_second"`
	Cut   bool    `json:"link_cut,omitempty"`
}

// Stall is what a broken link did to the guest.
type Stall struct {
	// CutMS is how long the link was cut.
	CutMS float64 `json:"cut_ms"`
	// StalledMS is the longest time in which the guest did no page operation.
	StalledMS float64 `json:"stalled_ms"`
	// AfterMS is the time from the whole link to the guest's next operation, or
	// 0 if it did not wait.
	AfterMS float64 `json:"after_ms"`
}

// Verified is what was checked when all memory was there.
type Verified struct {
	// Pages were read back by the guest, Wrong had not the content that the
	// guest had written last.
	Pages uint64 `json:"pages"`
	Wrong uint64 `json:"wrong"`
	// Beats arrived from both hosts, none missing, none twice.
	Beats uint64 `json:"beats"`
}

// Report is the end of the story.
type Report struct {
	Outcome string `json:"outcome"` // "verified" or "failed"
	Error   string `json:"error,omitempty"`
	Hint    string `json:"hint,omitempty"`
	// Removed says that nothing of the run is left.
	Removed bool `json:"removed"`

	// BlackoutMS is from stop to resume, by the VMMs' time stamps: both hosts
	// have one clock here. GapMS is the pause between two heartbeats.
	BlackoutMS float64 `json:"blackout_ms"`
	GapMS      float64 `json:"heartbeat_gap_ms"`
	// WorstMS is the longest page operation since the switch.
	WorstMS float64 `json:"worst_operation_ms"`
	// DrainMS is from the first heartbeat at the destination until it needed
	// the source no more.
	DrainMS float64 `json:"drain_ms"`
	// Before, During and After are the guest's page operations per second.
	Before float64 `json:"operations_per_second_before"`
	During float64 `json:"operations_per_second_during"`
	After  float64 `json:"operations_per_second_after"`

	Verified *Verified `json:"verified,omitempty"`
	Stall    *Stall    `json:"stall,omitempty"`
	// Source and Destination are the reports of the two commands.
	Source      *migrate.Report `json:"source,omitempty"`
	Destination *migrate.Report `json:"destination,omitempty"`
}

// Outcomes.
const (
	OutcomeVerified = "verified"
	OutcomeFailed   = "failed"
)
