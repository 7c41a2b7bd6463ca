package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// units are what a size can end with.
var units = []struct {
	suffix string
	bytes  float64
}{
	{"KiB", 1 << 10},
	{"MiB", 1 << 20},
	{"GiB", 1 << 30},
	{"TiB", 1 << 40},
	{"kB", 1e3},
	{"KB", 1e3},
	{"MB", 1e6},
	{"GB", 1e9},
	{"TB", 1e12},
	{"B", 1},
	{"", 1},
}

// size is a flag's value in bytes: 8GiB, 1.5GB, 4096.
type size uint64

// String returns the size in bytes, or "" for none.
func (s *size) String() string {
	if *s == 0 {
		return ""
	}
	return strconv.FormatUint(uint64(*s), 10)
}

// Type names the value in help texts.
func (s *size) Type() string { return "SIZE" }

// Set parses a size. Letters such as a bare G are refused: they mean different
// things to different people.
func (s *size) Set(text string) error {
	for _, unit := range units {
		digits, ok := strings.CutSuffix(text, unit.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(digits, 64)
		if bytes := n * unit.bytes; err == nil && bytes >= 1 && bytes < 1<<63 && strings.Trim(digits, "0123456789.") == "" {
			*s = size(math.Round(bytes))
			return nil
		}
		break
	}
	return fmt.Errorf("%q is not a size such as 500MB, 8GiB or 4096", text)
}

// bytesText returns a number of bytes for people.
func bytesText(n uint64) string {
	for _, unit := range []struct {
		suffix string
		bytes  float64
	}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if float64(n) >= unit.bytes {
			return fmt.Sprintf("%.1f %s", float64(n)/unit.bytes, unit.suffix)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}
