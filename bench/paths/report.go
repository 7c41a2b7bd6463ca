package paths

import "time"

// report puts all rounds together.
func (r *runner) report(took time.Duration) Report {
	out := Report{
		Kind: ReportKind, Machine: r.machine, Quick: r.Quick, Rounds: r.Rounds,
		Failed: r.failed, Skipped: r.skipped, Seconds: took.Seconds(),
	}
	for _, g := range goals() {
		out.Goals = append(out.Goals, g.judge(r.rounds))
	}
	for _, c := range r.cases {
		if stats := statsOf(c, r.rounds); len(stats) > 0 {
			out.Results = append(out.Results, Result{Case: c, Stats: stats})
		}
	}
	return out
}

// statsOf describes the figures of a case.
func statsOf(c Case, rounds []figuresOf) map[Figure]Stat {
	values := map[Figure][]float64{}
	for _, r := range rounds {
		for name, n := range r[c] {
			values[name] = append(values[name], n)
		}
	}
	stats := map[Figure]Stat{}
	for name, of := range values {
		stats[name] = statOf(of)
	}
	return stats
}
