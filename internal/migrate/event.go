package migrate

import (
	"time"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/internal/vmm"
)

// Kinds of Event.
const (
	EventState    = "state"
	EventProgress = "progress"
	EventCheck    = "check"
	EventMessage  = "message"
	EventReport   = "report"
)

// Event is one line of what an engine tells its watchers.
type Event struct {
	// Event is one of the kinds above; it says which other field is set.
	Event string    `json:"event"`
	Time  time.Time `json:"time"`
	// State is the state of this side's machine, such as "frozen".
	State    string     `json:"state,omitempty"`
	Progress *Progress  `json:"progress,omitempty"`
	Check    *vmm.Check `json:"check,omitempty"`
	// Side says whose check it is: "source" or "destination".
	Side    string  `json:"side,omitempty"`
	Message string  `json:"message,omitempty"`
	Report  *Report `json:"report,omitempty"`
	// Map is sent with the progress if ReceiveConfig.MapCells asks for it.
	Map *PageMap `json:"map,omitempty"`
}

// Progress counts the pages of the destination by origin. Fault percentiles
// are in microseconds, over the faults that went to the source.
type Progress struct {
	Total     uint64 `json:"pages_total"`
	Zero      uint64 `json:"pages_zero"`
	Cache     uint64 `json:"pages_cache"`
	Demand    uint64 `json:"pages_demand"`
	Bulk      uint64 `json:"pages_bulk"`
	Discarded uint64 `json:"pages_discarded"`
	Poisoned  uint64 `json:"pages_poisoned"`
	FaultP50  int64  `json:"fault_p50_us"`
	FaultP99  int64  `json:"fault_p99_us"`
	// What follows is this side's own, as in its Report.
	BytesSent        uint64 `json:"bytes_sent"`
	BytesReceived    uint64 `json:"bytes_received"`
	DigestMismatches uint64 `json:"digest_mismatches"`
	Reconnects       uint64 `json:"reconnects"`
	// StoppedMS is 0 where it is not known: at the destination, and at the
	// source until the guest runs again.
	StoppedMS float64 `json:"stopped_ms,omitempty"`
	// Waits is set at the destination if ReceiveConfig.FaultWaits asks for it.
	Waits *FaultWaits `json:"-"`
}

// Known returns how many pages need nothing from the source any more.
func (p Progress) Known() uint64 {
	return min(p.Total, p.Zero+p.Cache+p.Demand+p.Bulk+p.Discarded+p.Poisoned)
}

// Outcome says how a migration ended for this side.
type Outcome string

const (
	// OutcomeDone: the guest runs at the destination and needs the source no
	// more, or it ended there.
	OutcomeDone Outcome = "done"
	// OutcomeAborted: the guest is at the source as if nothing had happened.
	OutcomeAborted Outcome = "aborted"
	// OutcomePending: the guest runs at the destination, pages are missing.
	OutcomePending Outcome = "pending"
	// OutcomeStopped: the guest is stopped and needs a person.
	OutcomeStopped Outcome = "stopped"
	// OutcomeChecked: a dry run found nothing to refuse.
	OutcomeChecked Outcome = "checked"
)

// Latencies summarises how long threads of the guest waited, in microseconds.
type Latencies struct {
	Count uint64 `json:"count"`
	P50   int64  `json:"p50"`
	P90   int64  `json:"p90"`
	P99   int64  `json:"p99"`
	P999  int64  `json:"p999"`
	Max   int64  `json:"max"`
}

// Faults groups latencies by what answered the fault.
type Faults struct {
	Zero   Latencies `json:"zero"`
	Cache  Latencies `json:"cache"`
	Remote Latencies `json:"remote"`
}

// FaultCounts groups faults of the guest by what answered them.
type FaultCounts struct {
	Zero   uint64 `json:"zero"`
	Cache  uint64 `json:"cache"`
	Remote uint64 `json:"remote"`
}

// Report is what a side says at the end. The names of its fields are stable.
type Report struct {
	VM    string        `json:"vm"`
	Epoch lazymig.Epoch `json:"epoch"`
	// StoppedMS is the blackout by the source's clock: from QEMU's STOP to
	// the arrival of RESUMED less half the round trip. The error bound is
	// half the round trip.
	StoppedMS      float64 `json:"stopped_ms"`
	StoppedErrorMS float64 `json:"stopped_error_ms"`
	// StoppedAt and ResumedAt are the VMMs' own times of STOP and RESUME, each
	// by the clock of its host. Only the source knows the first.
	StoppedAt time.Time `json:"stopped_at,omitzero"`
	ResumedAt time.Time `json:"resumed_at,omitzero"`
	TotalMS   float64   `json:"total_ms"`
	// CPUSeconds is what the engine's process has used, user and kernel time,
	// without the VMM.
	CPUSeconds  float64 `json:"cpu_seconds"`
	PagesTotal  uint64  `json:"pages_total"`
	PagesZero   uint64  `json:"pages_zero"`
	PagesCache  uint64  `json:"pages_cache"`
	PagesDemand uint64  `json:"pages_demand"`
	PagesBulk   uint64  `json:"pages_bulk"`
	// PagesAhead of PagesBulk are the hot set: asked for before the switch. Only
	// the destination counts them.
	PagesAhead uint64 `json:"pages_ahead"`
	// PagesWarmed were brought to the destination's cache before the freeze, in
	// WarmMS. Only the source counts them.
	PagesWarmed      uint64  `json:"pages_warmed,omitempty"`
	WarmMS           float64 `json:"warm_ms,omitempty"`
	PagesDiscarded   uint64  `json:"pages_discarded"`
	PagesPoisoned    uint64  `json:"pages_poisoned"`
	BytesSent        uint64  `json:"bytes_sent"`
	BytesReceived    uint64  `json:"bytes_received"`
	BytesRaw         uint64  `json:"bytes_raw"`
	DigestMismatches uint64  `json:"digest_mismatches"`
	Reconnects       uint64  `json:"reconnects"`
	FaultUS          Faults  `json:"fault_us"`
	// FirstFaultsUS is when the first faults were for which the source was asked,
	// at most 1024 of them, in microseconds behind ResumedAt: those of the load of
	// the devices are negative. Only the destination has them, at the end.
	FirstFaultsUS []int64 `json:"first_faults_us,omitempty"`
	// RecipeMS is how long the guest ran at the destination before the source
	// had said what all pages are made of; FaultsAfterRecipe are those from then
	// on. Only the destination has them, and only with a cache.
	RecipeMS          float64      `json:"recipe_ms,omitempty"`
	FaultsAfterRecipe *FaultCounts `json:"faults_after_recipe,omitempty"`
	Outcome           Outcome      `json:"outcome"`
	// Reason says why the outcome is not "done", or how the guest ended.
	Reason string `json:"reason,omitempty"`
}

// Exit codes of send and receive.
const (
	ExitDone    = 0
	ExitAborted = 1
	ExitUsage   = 2
	ExitPending = 3
	ExitStopped = 4
)

// ExitCode returns the exit code for the end of a Send or Receive.
func ExitCode(r Report, err error) int {
	switch r.Outcome {
	case OutcomeDone, OutcomeChecked:
		return ExitDone
	case OutcomePending:
		return ExitPending
	case OutcomeStopped:
		return ExitStopped
	case OutcomeAborted:
		return ExitAborted
	}
	if err == nil {
		return ExitDone
	}
	return ExitAborted
}
