package report

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// Migration is what the report needs of one measured migration: a part of the
// record that `lazymig bench migrate` writes, one a line. The names are those
// of its fields; what each means stands there.
type Migration struct {
	Technique   string  `json:"technique"`
	RateBits    uint64  `json:"rate_bits"`
	RTTMS       float64 `json:"rtt_ms"`
	JitterMS    float64 `json:"jitter_ms"`
	Loss        float64 `json:"loss"`
	Guest       string  `json:"guest"`
	MemoryMiB   int     `json:"memory_mib"`
	ChangingMiB int     `json:"changing_mib"`
	RAM         string  `json:"ram"`
	TLS         bool    `json:"tls"`
	Factor      string  `json:"factor"`
	Environment struct {
		Commit    string  `json:"commit"`
		QEMU      string  `json:"qemu"`
		Kernel    string  `json:"kernel"`
		CPU       string  `json:"cpu"`
		CPUs      int     `json:"cpus"`
		Accel     string  `json:"accel"`
		Place     string  `json:"place"`
		LoadStart float64 `json:"load_start"`
	} `json:"environment"`
	Outcome     string   `json:"outcome"`
	GapMS       float64  `json:"gap_ms"`
	WorstMS     float64  `json:"worst_ms"`
	RecoveredMS *float64 `json:"recovered_ms"`
	FreeMS      float64  `json:"free_ms"`
	MemoryUsed  uint64   `json:"memory_used"`
	BytesOut    uint64   `json:"bytes_out"`
	CPUPerGiB   float64  `json:"cpu_per_gib"`
	Series      []struct {
		AtMS int64   `json:"at_ms"`
		Ops  float64 `json:"ops"`
	} `json:"series"`
}

// Words of the record.
const (
	migrationKind    = "migration"
	migrationOwn     = "lazymig"
	migrationGood    = "verified"
	migrationBase    = "base"
	migrationRTT     = "rtt"
	migrationPlain   = "plain" // RAM in anonymous memory, as most guests have it
	seriesBucketMS   = 100     // what one point of the guest's figure adds up
	seriesIntervalMS = 10      // what one point of a record does
)

// parseMigration reads a record. What is compared separately is another
// technique.
func parseMigration(text []byte) (Migration, error) {
	var m Migration
	if err := json.Unmarshal(text, &m); err != nil {
		return m, fmt.Errorf("read a migration: %w", err)
	}
	if m.Technique != migrationOwn && m.TLS {
		m.Technique += ", TLS"
	}
	if m.RAM == migrationPlain {
		m.Technique += ", plain RAM"
	}
	return m, nil
}

// place is where a migration was measured: techniques are compared only in the
// same one.
func (m Migration) place() string {
	rate := "unlimited"
	if m.RateBits > 0 {
		rate = figure(float64(m.RateBits)/1e6) + " Mbit/s"
	}
	text := fmt.Sprintf("%s, round trip %g ms", rate, m.RTTMS)
	if m.JitterMS > 0 {
		text += fmt.Sprintf(" ± %g ms", m.JitterMS)
	}
	if m.Loss > 0 {
		text += fmt.Sprintf(", %g %% loss", 100*m.Loss)
	}
	return text + fmt.Sprintf(", guest %s, %d of %d MiB changing", m.Guest, m.ChangingMiB, m.MemoryMiB)
}

// byPlace groups migrations; the places come in the order of the file.
func byPlace(all []Migration) (places []string, groups map[string][]Migration) {
	groups = map[string][]Migration{}
	for _, m := range all {
		p := m.place()
		if groups[p] == nil {
			places = append(places, p)
		}
		groups[p] = append(groups[p], m)
	}
	return places, groups
}

// byTechnique groups migrations that count, lazymig first.
func byTechnique(all []Migration) (techniques []string, good map[string][]Migration, runs map[string]int) {
	good, runs = map[string][]Migration{}, map[string]int{}
	for _, m := range all {
		runs[m.Technique]++
		if m.Outcome == migrationGood {
			good[m.Technique] = append(good[m.Technique], m)
		}
	}
	techniques = slices.Sorted(maps.Keys(runs))
	if i := slices.Index(techniques, migrationOwn); i > 0 {
		techniques = slices.Insert(slices.Delete(techniques, i, i+1), 0, migrationOwn)
	}
	return techniques, good, runs
}

// median of what some migrations can tell; 0 if none can.
func median(all []Migration, of func(Migration) (float64, bool)) float64 {
	var figures []float64
	for _, m := range all {
		if n, ok := of(m); ok {
			figures = append(figures, n)
		}
	}
	if len(figures) == 0 {
		return 0
	}
	slices.Sort(figures)
	return (figures[(len(figures)-1)/2] + figures[len(figures)/2]) / 2
}

func always(f func(Migration) float64) func(Migration) (float64, bool) {
	return func(m Migration) (float64, bool) { return f(m), true }
}
