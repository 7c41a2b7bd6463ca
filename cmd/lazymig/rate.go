package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// rates are what the rate of a link can end with, in bytes per second.
var rates = []struct {
	suffix string
	bytes  float64
}{
	{"kbit", 1e3 / 8},
	{"Mbit", 1e6 / 8},
	{"Gbit", 1e9 / 8},
	{"kB", 1e3},
	{"MB", 1e6},
	{"GB", 1e9},
	{"KiB", 1 << 10},
	{"MiB", 1 << 20},
	{"GiB", 1 << 30},
}

// rate is a flag's value in bytes per second: 400Mbit, 1Gbit/s, 50MB.
type rate uint64

// String returns the rate as a link's is told, or "" for none.
func (r *rate) String() string {
	if *r == 0 {
		return ""
	}
	return rateText(uint64(*r))
}

// Type names the value in help texts.
func (r *rate) Type() string { return "RATE" }

// Set parses a rate. What is neither bits nor bytes is refused: bare letters
// mean different things to different people.
func (r *rate) Set(text string) error {
	plain := strings.TrimSuffix(text, "/s")
	for _, unit := range rates {
		digits, ok := strings.CutSuffix(plain, unit.suffix)
		if !ok || digits == "" || strings.Trim(digits, "0123456789.") != "" {
			continue
		}
		n, err := strconv.ParseFloat(digits, 64)
		if bytes := n * unit.bytes; err == nil && bytes >= 1 && bytes < 1<<50 {
			*r = rate(math.Round(bytes))
			return nil
		}
	}
	return fmt.Errorf("%q is not a rate such as 400Mbit, 1Gbit or 50MB, per second", text)
}

// rateText returns bytes per second as the rate of a link.
func rateText(bytes uint64) string {
	switch bits := 8 * float64(bytes); {
	case bits >= 1e9:
		return strconv.FormatFloat(math.Round(bits/1e7)/100, 'f', -1, 64) + " Gbit/s"
	default:
		return strconv.FormatFloat(math.Round(bits/1e4)/100, 'f', -1, 64) + " Mbit/s"
	}
}
