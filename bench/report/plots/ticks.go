package plots

import (
	"math"
	"strconv"

	"gonum.org/v1/plot"
)

// decade widens a range to 1, 2 or 5 times a power of ten at both ends, and to
// a factor of ten at least.
func decade(least, most float64) (from, to float64) {
	from, to = step(least, false), step(most, true)
	for to < 10*from {
		to = step(to*1.5, true)
	}
	return from, to
}

// step is the next 1, 2 or 5 times a power of ten at or below, or at or above.
func step(n float64, up bool) float64 {
	power := math.Pow(10, math.Floor(math.Log10(n)))
	out := power
	for _, f := range []float64{1, 2, 5, 10} {
		switch at := f * power; {
		case up && at >= n*(1-1e-9):
			return at
		case !up && at <= n*(1+1e-9):
			out = at
		}
	}
	return out
}

// logTicks labels 1, 2 and 5 times the powers of ten, or on a wide axis only
// the powers.
type logTicks struct{}

var _ plot.Ticker = logTicks{}

// Ticks returns the ticks of a logarithmic axis.
func (logTicks) Ticks(least, most float64) []plot.Tick {
	wide := most/least > 5e3
	var ticks []plot.Tick
	for power := math.Pow(10, math.Floor(math.Log10(least))); power <= most; power *= 10 {
		for f := 1.0; f < 10; f++ {
			at := f * power
			if at < least*(1-1e-9) || at > most*(1+1e-9) {
				continue
			}
			label := ""
			if f == 1 || (!wide && (f == 2 || f == 5)) {
				label = number(at)
			}
			ticks = append(ticks, plot.Tick{Value: at, Label: label})
		}
	}
	return ticks
}

// plainTicks are gonum's, with numbers that people write; or those of per
// cent.
type plainTicks struct{ quarters bool }

var _ plot.Ticker = plainTicks{}

// Ticks returns the ticks of a linear axis.
func (t plainTicks) Ticks(least, most float64) []plot.Tick {
	if t.quarters {
		return []plot.Tick{{Value: 0, Label: "0"}, {Value: 25, Label: "25"}, {Value: 50, Label: "50"}, {Value: 75, Label: "75"}, {Value: 100, Label: "100"}}
	}
	ticks := plot.DefaultTicks{}.Ticks(least, most)
	for i := range ticks {
		if ticks[i].Label != "" {
			ticks[i].Label = number(ticks[i].Value)
		}
	}
	return ticks
}

// number writes 1500000 as 1.5 M. Up to four digits stay as they are.
func number(n float64) string {
	for _, unit := range []struct {
		from, of float64
		name     string
	}{{1e9, 1e9, " G"}, {1e6, 1e6, " M"}, {1e4, 1e3, " k"}} {
		if math.Abs(n) >= unit.from {
			return short(n/unit.of) + unit.name
		}
	}
	return short(n)
}

func short(n float64) string { return strconv.FormatFloat(n, 'g', 6, 64) }
