package migrations

import (
	"fmt"
	"strings"
	"time"

	"github.com/lazymig/lazymig/internal/migrate"
)

// Version is the version of Record: it is raised when a field changes its
// meaning or goes away, not when one is added.
const Version = 1

// Setting is what a run is asked to do.
type Setting struct {
	Technique Technique `json:"technique"`
	// RateBits is the rate of the link in bits per second, 0 for no limit.
	RateBits uint64 `json:"rate_bits"`
	// RTTMS is what the link adds to a round trip, JitterMS what it adds at
	// random, at most, to each direction.
	RTTMS    float64 `json:"rtt_ms"`
	JitterMS float64 `json:"jitter_ms"`
	// Loss is the share of packets that each direction loses, 0 to 1.
	Loss float64 `json:"loss"`
	// Guest says what the guest does.
	Guest Guest `json:"guest"`
	// MemoryMiB is the guest's RAM, ChangingMiB what its program fills.
	MemoryMiB   int `json:"memory_mib"`
	ChangingMiB int `json:"changing_mib"`
	// RAM is what holds the RAM of QEMU's own techniques: "shared", as lazymig
	// has it, or "plain". It is "shared" for lazymig.
	RAM string `json:"ram"`
	// Cache is what lazymig's destination has already.
	Cache Cache `json:"cache,omitempty"`
	// TLS says that QEMU encrypts the stream, by X.509 on both sides. lazymig
	// always does.
	TLS bool `json:"tls"`

	seed int // of the guest's memory, for guests before the measured one
}

// String names the setting, without spaces; equal settings have equal names.
func (s Setting) String() string {
	return fmt.Sprintf("%s,rate=%d,rtt=%g,jitter=%g,loss=%g,guest=%s,memory=%d/%d,ram=%s,cache=%s,tls=%t",
		s.Technique, s.RateBits, s.RTTMS, s.JitterMS, s.Loss, s.Guest, s.ChangingMiB, s.MemoryMiB, s.RAM, strings.ReplaceAll(string(s.Cache), " ", "-"), s.TLS)
}

// Outcome says whether the results of a run count.
type Outcome string

// The outcomes of a run.
const (
	// Verified: the guest runs at the destination, and every word of its
	// memory, its counters and its heartbeat are right. Only then the results
	// are data.
	Verified Outcome = "verified"
	// Failed: the move did not end, or what arrived was wrong. Error says
	// more; the results are what was seen until then and are no data.
	Failed Outcome = "failed"
)

// Environment is where a run was made.
type Environment struct {
	Program   string  `json:"program"` // lazymig's version
	Commit    string  `json:"commit"`
	QEMU      string  `json:"qemu"`
	Kernel    string  `json:"kernel"`
	CPU       string  `json:"cpu"`
	CPUs      int     `json:"cpus"`
	Accel     string  `json:"accel"` // "tcg" or "kvm"
	Place     string  `json:"place"` // "namespaces" or the two hosts
	LoadStart float64 `json:"load_start"`
}

// Record is one run: a line of JSON in a file of results. A pointer is nil if
// the run could not tell: an idle guest has no speed to come back to.
type Record struct {
	Version int       `json:"version"`
	Kind    string    `json:"kind"` // always "migration"
	Time    time.Time `json:"time"`
	Setting
	Repeat      int         `json:"repeat"` // from 1
	Factor      string      `json:"factor"` // what was varied: "base", "link", "rtt", "loss", "guest", "tls" or "cache"
	Environment Environment `json:"environment"`
	// Capabilities and Parameters are what QEMU was told for its techniques.
	Capabilities []string       `json:"capabilities,omitempty"`
	Parameters   map[string]any `json:"parameters,omitempty"`

	Outcome Outcome `json:"outcome"`
	Error   string  `json:"error,omitempty"`
	// Verification is the answer of the guest's own check.
	Verification string `json:"verification,omitempty"`

	Results
	// Series is the guest's work around the switch.
	Series []Point `json:"series,omitempty"`
	// Own is what lazymig's destination says of its move.
	Own *migrate.Report `json:"lazymig,omitempty"`
}

// Results is what was measured. Times of a move begin when `lazymig send` is
// started, or QEMU is told to migrate; the destination waits already then.
type Results struct {
	// FloorMS is the median gap between heartbeats over a stop and cont in
	// place, just before the move: what no migration can beat. FloorWorstMS is
	// the longest one.
	FloorMS      float64 `json:"floor_ms"`
	FloorWorstMS float64 `json:"floor_worst_ms"`
	// BaseRate is the guest's page operations per second before the move.
	BaseRate float64 `json:"base_rate"`

	// StoppedMS is the time from QEMU's STOP at the source to RESUME at the
	// destination, by QEMU's time stamps.
	StoppedMS float64 `json:"stopped_ms"`
	// GapMS is the time between the last heartbeat from the source and the
	// first one from the destination.
	GapMS float64 `json:"gap_ms"`
	// FaultsBeforeBeat is how many times the guest waited for a page of the source
	// between RESUME and the first heartbeat from the destination. Only lazymig
	// tells; it counts at most 1024.
	FaultsBeforeBeat *int `json:"faults_before_beat,omitempty"`
	// SwitchAtMS is when the guest stopped, from the start of the move.
	SwitchAtMS float64 `json:"switch_at_ms"`
	// WorstMS is the longest operation of the guest after the switch; one that
	// spans the switch counts. P99MS is the 99th percentile, over the
	// heartbeats from the first one to the end of the move, of the longest
	// operation since the beat before.
	WorstMS float64 `json:"worst_ms"`
	P99MS   float64 `json:"p99_ms"`
	// RecoveredMS is when the guest is back at 90 % of BaseRate over 100 ms,
	// from the start of the move; nil if it was not seen, or the guest is idle.
	RecoveredMS *float64 `json:"recovered_ms"`
	// LostWorkMS is the work that the guest did not do from the start of the
	// move until it has recovered and the source is free, as time at BaseRate.
	LostWorkMS *float64 `json:"lost_work_ms"`
	// FreeMS is when the guest needs nothing from the source any more.
	FreeMS float64 `json:"free_ms"`

	// BytesOut and BytesBack went over the cable from and to the source: the
	// kernel's counters of the interface, with the headers of Ethernet, but for
	// segments that the kernel cuts on their way only those of the first.
	BytesOut  uint64 `json:"bytes_out"`
	BytesBack uint64 `json:"bytes_back"`
	// MemoryUsed is how much of the guest's RAM was allocated, in bytes.
	MemoryUsed uint64 `json:"memory_used"`
	// CPUSource and CPUDestination are the seconds that all processes on each
	// host used from the preparations to FreeMS, without virtual CPUs and what
	// QEMU uses when it does not migrate. The kernel's own work for the network
	// counts only as far as it happens in them.
	CPUSource      float64 `json:"cpu_source"`
	CPUDestination float64 `json:"cpu_destination"`
	// CPUPerGiB is both, per GiB of MemoryUsed.
	CPUPerGiB float64 `json:"cpu_per_gib"`
	// PeakSource and PeakDestination are the most anonymous memory of the
	// host's processes in that time, in bytes. Of a QEMU only what is above that
	// of the source's QEMU before the preparations counts, and above what it
	// has itself when it waits for the guest; by emulation, the code that it
	// translates after the switch counts at the destination. With RAM "plain" the guest's memory is not told from it,
	// and they are 0.
	PeakSource      uint64 `json:"peak_source"`
	PeakDestination uint64 `json:"peak_destination"`
	// MeasuringCPU is the seconds that this program itself used from the
	// preparations to FreeMS: heartbeat, samples, and the relay of the link.
	MeasuringCPU float64 `json:"measuring_cpu"`
	// PacketsLost and PacketsDropped are what the link lost by chance and
	// because its queue was full, without what was dropped by the rate limit.
	PacketsLost    uint64 `json:"packets_lost"`
	PacketsDropped uint64 `json:"packets_dropped"`
	// ClockBoundMS is by how much StoppedMS may be wrong because two machines
	// have two clocks; 0 where there is one.
	ClockBoundMS float64 `json:"clock_bound_ms,omitempty"`
}

// Point is the guest's work in 10 ms.
type Point struct {
	// AtMS is the end of the 10 ms, from the guest's stop (negative before).
	AtMS int64 `json:"at_ms"`
	// Ops is the number of page operations.
	Ops uint64 `json:"ops"`
}
