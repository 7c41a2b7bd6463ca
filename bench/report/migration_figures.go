package report

import (
	"slices"

	"github.com/lazymig/lazymig/bench/migrations"
	"github.com/lazymig/lazymig/internal/migrate"
)

const (
	// seriesBucketMS is what one point of the guest's figure adds up,
	// seriesIntervalMS what one point of a record does.
	seriesBucketMS   = 100
	seriesIntervalMS = 10
)

// migrationFigures are the guest's work around the switch, drain and gap over
// the round trip, and where lazymig's pages came from.
func migrationFigures(all []migrations.Record) []Figure {
	guest := Figure{
		Name: "migrations-guest", X: Axis{Label: "time since the switch, s"}, Y: Axis{Label: "guest operations per second"},
		Marks: []Mark{{0, "switch"}},
	}
	drain := Figure{
		Name: "migrations-rtt", Title: "Guest memory moved per second over the round trip",
		X: Axis{Label: "round trip, ms", Log: true}, Y: Axis{Label: "memory until the source is free, MB/s", Log: true},
	}
	gap := Figure{
		Name: "migrations-gap", Title: "Heartbeat gap over the round trip",
		X: Axis{Label: "round trip, ms", Log: true}, Y: Axis{Label: "gap, ms", Log: true},
	}
	for i, g := range techniques(all) {
		good := g.good()
		if m := firstWithSeries(good.runs); m != nil {
			guest.Title = "Guest's work around the switch: " + place(*m)
			guest.Lines = append(guest.Lines, Line{Name: g.name, Colour: lineColour(i), Points: perSecond(*m)})
		}
		if points := good.overRTT(drainRate); len(points) > 1 {
			drain.Lines = append(drain.Lines, Line{Name: g.name, Colour: lineColour(i), Points: points, Dots: true})
		}
		if points := good.overRTT(always(gapOf)); len(points) > 1 {
			gap.Lines = append(gap.Lines, Line{Name: g.name, Colour: lineColour(i), Points: points, Dots: true})
		}
	}
	var out []Figure
	for _, f := range []Figure{guest, drain, gap, originsOfGuests(all), originsWithCaches(all)} {
		if len(f.Lines) > 0 || f.Bars != nil {
			out = append(out, f)
		}
	}
	return out
}

// lineColour gives lazymig, which is first, the colour that it has in the
// figures of faults, and the others those that differ most from it.
func lineColour(i int) int {
	if i > 0 {
		i++
	}
	return i + 2
}

func firstWithSeries(all []migrations.Record) *migrations.Record {
	for i := range all {
		if all[i].Factor == string(migrations.FactorBase) && len(all[i].Series) > 0 {
			return &all[i]
		}
	}
	return nil
}

// perSecond adds the points of a record up to larger ones, at their middle.
func perSecond(m migrations.Record) [][2]float64 {
	type sum struct{ ops, intervals float64 }
	sums := map[int64]sum{}
	var at []int64
	for _, p := range m.Series {
		bucket := (p.AtMS - seriesIntervalMS) / seriesBucketMS
		if p.AtMS-seriesIntervalMS < 0 {
			bucket = (p.AtMS-seriesIntervalMS+1)/seriesBucketMS - 1
		}
		if _, ok := sums[bucket]; !ok {
			at = append(at, bucket)
		}
		s := sums[bucket]
		sums[bucket] = sum{s.ops + float64(p.Ops), s.intervals + 1}
	}
	slices.Sort(at)
	points := make([][2]float64, len(at))
	for i, b := range at {
		middle := (float64(b) + 0.5) * seriesBucketMS / 1000
		points[i] = [2]float64{middle, sums[b].ops / sums[b].intervals * 1000 / seriesIntervalMS}
	}
	return points
}

// drainRate is the guest's memory over the time until the source is free, in MB/s.
func drainRate(m migrations.Record) (float64, bool) {
	if m.FreeMS <= 0 || m.MemoryUsed == 0 {
		return 0, false
	}
	return float64(m.MemoryUsed) / 1e6 / (m.FreeMS / 1000), true
}

// overRTT is the median of a quantity at each round trip that was measured.
// The link itself, without a delay, has no place on the axis.
func (g group) overRTT(of quantity) [][2]float64 {
	at := map[float64]*group{}
	var rtts []float64
	for _, m := range g.runs {
		if (m.Factor != string(migrations.FactorRTT) && m.Factor != string(migrations.FactorBase)) || m.RTTMS <= 0 {
			continue
		}
		if at[m.RTTMS] == nil {
			at[m.RTTMS] = &group{}
			rtts = append(rtts, m.RTTMS)
		}
		at[m.RTTMS].runs = append(at[m.RTTMS].runs, m)
	}
	slices.Sort(rtts)
	var points [][2]float64
	for _, rtt := range rtts {
		if s := at[rtt].over(of); s.count > 0 && s.median > 0 {
			points = append(points, [2]float64{rtt, s.median})
		}
	}
	return points
}

// originsOfGuests shows each guest. The link makes no difference.
func originsOfGuests(all []migrations.Record) Figure {
	f := Figure{Name: "migrations-origin", Title: "Where the memory of a guest came from", Y: Axis{Label: "guest memory, MB"}}
	f.Bars = origins(all, migrations.FactorBase, migrations.FactorGuest)
	return f
}

// originsWithCaches shows each state of a cache.
func originsWithCaches(all []migrations.Record) Figure {
	f := Figure{Name: "migrations-cache", Title: "Where the memory of a guest came from, with a cache", Y: Axis{Label: "guest memory, MB"}}
	f.Bars = origins(all, migrations.FactorCache)
	return f
}

// origins is where the pages came from in lazymig's first good run with each
// guest and cache, in MB; nil if there is none.
func origins(all []migrations.Record, factors ...migrations.Factor) *Bars {
	parts := []struct {
		name string
		of   func(r *migrate.Report) uint64
	}{
		{"on demand", func(r *migrate.Report) uint64 { return r.PagesDemand }},
		{"hot set, before the switch", func(r *migrate.Report) uint64 { return r.PagesAhead }},
		{"background", func(r *migrate.Report) uint64 { return r.PagesBulk - r.PagesAhead }},
		{"cache", func(r *migrate.Report) uint64 { return r.PagesCache }},
		{"zero, not sent", func(r *migrate.Report) uint64 { return r.PagesZero }},
	}
	bars := &Bars{}
	for _, p := range parts {
		bars.Parts = append(bars.Parts, Part{Name: p.name})
	}
	for _, m := range all {
		factor, group := migrations.Factor(m.Factor), string(m.Guest)
		if m.Cache != migrations.NoCache {
			group += ", " + string(m.Cache)
		}
		if m.Own == nil || m.Outcome != migrations.Verified || !slices.Contains(factors, factor) || slices.Contains(bars.Groups, group) {
			continue
		}
		bars.Groups = append(bars.Groups, group)
		for i, p := range parts {
			bars.Parts[i].Values = append(bars.Parts[i].Values, float64(p.of(m.Own))*4096/1e6)
		}
	}
	if len(bars.Groups) == 0 {
		return nil
	}
	return bars
}
