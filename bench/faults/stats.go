package faults

import (
	"math"
	"slices"
	"time"
)

// Summary says how long faults took, in µs.
type Summary struct {
	Count int     `json:"count"`
	P50   float64 `json:"p50_us"`
	P90   float64 `json:"p90_us"`
	P99   float64 `json:"p99_us"`
	// P999 is left out if there were too few faults for it.
	P999 float64 `json:"p999_us,omitempty"`
	Max  float64 `json:"max_us"`
	// PerSecond counts the faults of all threads.
	PerSecond float64 `json:"per_second"`
}

// Summarize describes samples, sorted, that all threads together took in the
// given time.
func Summarize(samples []time.Duration, took time.Duration) Summary {
	if len(samples) == 0 {
		return Summary{}
	}
	s := Summary{
		Count: len(samples), P50: us(quantile(samples, 0.5)), P90: us(quantile(samples, 0.9)), P99: us(quantile(samples, 0.99)),
		Max: us(samples[len(samples)-1]), PerSecond: float64(len(samples)) / took.Seconds(),
	}
	if len(samples) >= p999Samples {
		s.P999 = us(quantile(samples, 0.999))
	}
	return s
}

// quantile returns the smallest sample that the given part of all does not
// exceed (nearest rank).
func quantile(sorted []time.Duration, part float64) time.Duration {
	rank := int(math.Ceil(part*float64(len(sorted)) - 1e-9))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

func us(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }

// Point is one of a distribution: Part of all faults took at most US µs.
type Point struct {
	US   float64 `json:"us"`
	Part float64 `json:"part"`
}

// curve returns the distribution of samples, sorted, finer towards its end.
func curve(sorted []time.Duration) []Point {
	if len(sorted) == 0 {
		return nil
	}
	points := []Point{{us(sorted[0]), 1 / float64(len(sorted))}}
	add := func(part float64) {
		if p := (Point{us(quantile(sorted, part)), part}); p.Part > points[len(points)-1].Part {
			points = append(points, p)
		}
	}
	for i := 1; i < curvePoints; i++ {
		add(float64(i) / curvePoints)
	}
	for rest := 0.005; rest*float64(len(sorted)) >= 1; rest /= 2 {
		add(1 - rest)
	}
	add(1)
	return points
}

// spread returns the least and the greatest of some figures.
func spread(figures []float64) [2]float64 {
	return [2]float64{slices.Min(figures), slices.Max(figures)}
}
