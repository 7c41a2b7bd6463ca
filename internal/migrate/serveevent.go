package migrate

import "time"

// Kinds of ServeEvent beside EventProgress, EventMessage and EventReport.
const (
	// EventListening: clients or VMMs can come.
	EventListening = "listening"
	// EventAttached: one has come.
	EventAttached = "attached"
	// EventComplete: all memory of a VMM is in, it needs nobody any more.
	EventComplete = "complete"
	// EventDetached: one has gone; Served says how it was.
	EventDetached = "detached"
)

// ServeEvent is one line of what ServeMemory and ServeFaults tell.
type ServeEvent struct {
	Event string    `json:"event"`
	Time  time.Time `json:"time"`
	// Address is where is listened: HOST:PORT or the path of a socket; with
	// EventAttached and EventDetached of ServeMemory the client's address.
	Address string `json:"address,omitempty"`
	// PID is the VMM's.
	PID int `json:"pid,omitempty"`
	// Peer is the name in the client's certificate.
	Peer     string       `json:"peer,omitempty"`
	Progress *Progress    `json:"progress,omitempty"`
	Served   *Served      `json:"served,omitempty"`
	Message  string       `json:"message,omitempty"`
	Report   *ServeReport `json:"report,omitempty"`
}

// ServeOutcome says how the service of one VMM ended.
type ServeOutcome string

const (
	// ServeComplete: all of its memory was installed.
	ServeComplete ServeOutcome = "complete"
	// ServeEnded: the VMM ended first, by itself.
	ServeEnded ServeOutcome = "ended"
	// ServeKilled: its memory could not be had, so it was killed.
	ServeKilled ServeOutcome = "killed"
)

// Served says how one VMM or client was served. Of a client only the bytes, the
// time and the connections are known. The names of the fields are stable.
type Served struct {
	Outcome ServeOutcome `json:"outcome,omitempty"`
	// Reason says why it was killed.
	Reason           string  `json:"reason,omitempty"`
	TotalMS          float64 `json:"total_ms"`
	PagesTotal       uint64  `json:"pages_total"`
	PagesZero        uint64  `json:"pages_zero"`
	PagesCache       uint64  `json:"pages_cache"`
	PagesDemand      uint64  `json:"pages_demand"`
	PagesBulk        uint64  `json:"pages_bulk"`
	PagesDiscarded   uint64  `json:"pages_discarded"`
	PagesPoisoned    uint64  `json:"pages_poisoned"`
	BytesSent        uint64  `json:"bytes_sent"`
	BytesReceived    uint64  `json:"bytes_received"`
	BytesRaw         uint64  `json:"bytes_raw"`
	DigestMismatches uint64  `json:"digest_mismatches"`
	Reconnects       uint64  `json:"reconnects"`
	// BulkConnections is how many carried the background, at the end.
	BulkConnections int    `json:"bulk_connections,omitempty"`
	FaultUS         Faults `json:"fault_us"`
}

// ServeReport is what ServeMemory and ServeFaults say at their end.
type ServeReport struct {
	// Served counts the VMMs or clients.
	Served uint64 `json:"served"`
	// Killed of them had to be.
	Killed  uint64  `json:"killed"`
	TotalMS float64 `json:"total_ms"`
	// CPUSeconds is what the process has used, user and kernel time.
	CPUSeconds float64 `json:"cpu_seconds"`
	Reason     string  `json:"reason,omitempty"`
}
