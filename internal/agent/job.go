package agent

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/lazymig/lazymig/internal/migrate"
)

// Kind says which side of a migration an engine is.
type Kind string

// The sides.
const (
	KindSend    Kind = "send"
	KindReceive Kind = "receive"
)

// Job is what an engine is asked to do. Fields of the other side are empty.
type Job struct {
	Kind     Kind   `json:"kind"`
	VM       string `json:"vm"`
	StateDir string `json:"state_dir"`
	// TLSDir holds the identity; empty with Insecure.
	TLSDir   string `json:"tls_dir,omitempty"`
	Insecure bool   `json:"insecure,omitempty"`
	Peer     string `json:"peer,omitempty"`
	// Bandwidth is a limit in bytes per second, 0 for none.
	Bandwidth uint64 `json:"bandwidth,omitempty"`
	// CacheDir is the directory of this host's cache, CacheBytes its budget. With
	// neither there is no cache, with the latter alone it is in memory.
	CacheDir   string `json:"cache_dir,omitempty"`
	CacheBytes int64  `json:"cache_bytes,omitempty"`
	// CacheKey is the file of the key of all digests; empty: that of TLSDir.
	CacheKey string `json:"cache_key,omitempty"`
	// LogFormat is "text" or "json", for the log files of engine and keeper.
	LogFormat string `json:"log_format,omitempty"`
	// Metrics is the address to serve metrics at, "HOST:PORT", empty for none.
	Metrics string `json:"metrics,omitempty"`
	// PProf is the address to serve profiles at, a loopback one, empty for none.
	PProf string `json:"pprof,omitempty"`

	QMP          string        `json:"qmp,omitempty"`
	MicroVM      string        `json:"microvm,omitempty"`
	To           string        `json:"to,omitempty"`
	ReadyTimeout time.Duration `json:"ready_timeout,omitempty"`
	DryRun       bool          `json:"dry_run,omitempty"`
	KeepRAM      bool          `json:"keep_ram,omitempty"`
	// Warm says how to bring pages to the destination's cache.
	Warm migrate.WarmConfig `json:"warm,omitzero"`

	Listen string   `json:"listen,omitempty"`
	Args   []string `json:"args,omitempty"`
	// Prefetch are the policies of the background; nil: all.
	Prefetch []migrate.Policy `json:"prefetch,omitempty"`
	// Trace is the file for a trace of the guest's faults, TraceFor how long it
	// is written.
	Trace    string        `json:"trace,omitempty"`
	TraceFor time.Duration `json:"trace_for,omitempty"`
	// MapCells asks for a map of the pages with that many cells.
	MapCells int `json:"map_cells,omitempty"`

	// OOMScoreAdj is what the engine had before it lowered its own: the value
	// for a VMM that it starts. The engine fills it in.
	OOMScoreAdj int `json:"-"`
}

// Kinds of line that the agent adds to those of package migrate.
const (
	// LineSnapshot is the first line that every client gets: a Snapshot.
	LineSnapshot = "snapshot"
	// LineAnswer answers a cancel: an Answer.
	LineAnswer = "answer"
	// LineExit is the last line of every engine: an Exit.
	LineExit = "exit"
	// lineState and lineProgress are kinds of migrate's events.
	lineState    = "state"
	lineProgress = "progress"
	lineMap      = "map"
)

// Snapshot tells a new client what it has missed.
type Snapshot struct {
	Event   string    `json:"event"`
	Kind    Kind      `json:"kind"`
	VM      string    `json:"vm"`
	PID     int       `json:"pid"`
	Started time.Time `json:"started"`
	// Peer is the address that the job names: where a source sends to, where
	// a destination listens.
	Peer string `json:"peer"`
	// Last holds the newest event of each kind.
	Last map[string]json.RawMessage `json:"last"`
}

// Answer tells a client that its cancel has reached the migration, and the
// state in which it did. Whether it takes effect depends on that state.
type Answer struct {
	Event string `json:"event"`
	State string `json:"state"`
}

// Exit says how an engine ended. Code is the exit code for the front end.
type Exit struct {
	Event string `json:"event"`
	Code  int    `json:"code"`
	Error string `json:"error,omitempty"`
	Hint  string `json:"hint,omitempty"`
}

// request is a line from a client.
type request struct {
	Signal string `json:"signal"`
}

const signalCancel = "cancel"

// kindOf returns the kind of a line.
func kindOf(line []byte) (string, error) {
	var head struct {
		Event string `json:"event"`
	}
	if err := json.Unmarshal(line, &head); err != nil {
		return "", fmt.Errorf("parse a line of the engine: %w", err)
	}
	return head.Event, nil
}
