package main

import (
	"fmt"
	"math"
	"time"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/internal/migrate"
)

// smoothing is the time over which the rates are averaged.
const smoothing = 2 * time.Second

// meter turns counts of pages into rates.
type meter struct {
	at     time.Time
	counts migrate.Progress
	moved  float64 // pages per second that came over the wire
	known  float64 // pages per second of which nothing is needed any more
}

func (m *meter) update(at time.Time, p migrate.Progress) {
	if dt := at.Sub(m.at).Seconds(); !m.at.IsZero() && dt > 0 {
		weight := 1 - math.Exp(-dt/smoothing.Seconds())
		m.moved += weight * (increase(m.counts.Demand+m.counts.Bulk, p.Demand+p.Bulk)/dt - m.moved)
		m.known += weight * (increase(m.counts.Known(), p.Known())/dt - m.known)
	}
	m.at, m.counts = at, p
}

// increase is how much a count has grown; one that fell belongs to another
// process.
func increase(from, to uint64) float64 {
	if to < from {
		return 0
	}
	return float64(to - from)
}

// String returns the counts and rates in at most 69 columns.
func (m *meter) String() string {
	p := m.counts
	percent := 100 * p.Known() / max(p.Total, 1)
	return fmt.Sprintf("%d%% zero %s demand %s bulk %s fault %s/%sms %sB/s ETA %s",
		percent, short(float64(p.Zero)), short(float64(p.Demand)), short(float64(p.Bulk)),
		milliseconds(p.FaultP50), milliseconds(p.FaultP99), short(m.moved*lazymig.PageSize), m.eta())
}

// eta returns the time that is left at the present rate, in at most 3 columns.
func (m *meter) eta() string {
	left := float64(m.counts.Total - m.counts.Known())
	if left == 0 {
		return "0s"
	}
	if m.known < 1 {
		return "-"
	}
	switch seconds := math.Ceil(left / m.known); {
	case seconds < 100:
		return fmt.Sprintf("%.0fs", seconds)
	case seconds < 100*60:
		return fmt.Sprintf("%.0fm", math.Ceil(seconds/60))
	default:
		return fmt.Sprintf("%.0fh", min(math.Ceil(seconds/3600), 99))
	}
}

// short returns a count in at most 4 columns: 999, 1.2k, 12k, 999M.
func short(n float64) string {
	const letters = " kMGTP"
	i := 0
	for n >= 999.5 && i < len(letters)-1 {
		n /= 1000
		i++
	}
	switch {
	case i == 0:
		return fmt.Sprintf("%.0f", n)
	case n < 9.95:
		return fmt.Sprintf("%.1f%c", n, letters[i])
	default:
		return fmt.Sprintf("%.0f%c", min(n, 999), letters[i])
	}
}

// milliseconds returns microseconds as milliseconds in at most 4 columns.
func milliseconds(us int64) string {
	switch ms := float64(us) / 1000; {
	case ms < 9.995:
		return fmt.Sprintf("%.2f", ms)
	case ms < 99.95:
		return fmt.Sprintf("%.1f", ms)
	default:
		return fmt.Sprintf("%.0f", min(ms, 9999))
	}
}
