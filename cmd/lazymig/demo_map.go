package main

import (
	"fmt"
	"math"
	"strings"

	"github.com/lazymig/lazymig/internal/demo"
	"github.com/lazymig/lazymig/internal/migrate"
)

const (
	// mapColumns is the length of a line of the page map.
	mapColumns = 64
	// margin stands before everything in a chapter.
	margin = "   "
	// speeds is how many samples of the speed are shown: all of a move that
	// takes five seconds.
	speeds = 26
)

// glyph is what a cell of the page map looks like.
type glyph struct {
	letter, color, meaning string
}

// The glyphs, in the order of the legend.
var (
	glyphMissing = glyph{".", dim, "missing"}
	glyphPart    = glyph{"+", plain, "in part"}
	glyphBulk    = glyph{"#", green, "in the background"}
	glyphDemand  = glyph{"!", yellow, "on demand"}
	glyphZero    = glyph{"0", blue, "zero"}
	glyphLost    = glyph{"x", red, "lost"}
)

// cellGlyph chooses the glyph of a cell: where most of its known pages came
// from, if all are known; whether any came on demand, while some are missing.
func cellGlyph(m *migrate.PageMap, i int) glyph {
	at := func(list []uint64) uint64 {
		if list == nil {
			return 0
		}
		return list[i]
	}
	zero, demand, bulk := at(m.Zero)+at(m.Discarded), at(m.Demand), at(m.Bulk)
	known, pages := zero+demand+bulk+at(m.Poisoned), m.First(i+1)-m.First(i)
	switch {
	case at(m.Poisoned) > 0:
		return glyphLost
	case known == 0:
		return glyphMissing
	case known < pages && demand >= bulk && demand > 0:
		return glyphDemand
	case known < pages:
		return glyphPart
	case demand >= bulk && demand >= zero:
		return glyphDemand
	case zero > bulk:
		return glyphZero
	default:
		return glyphBulk
	}
}

// mapLines draws the page map.
func (p *paper) mapLines(m *migrate.PageMap) []string {
	var lines []string
	for first := 0; first < m.Cells; first += mapColumns {
		var line strings.Builder
		for i := first; i < min(first+mapColumns, m.Cells); {
			g, n := cellGlyph(m, i), 1
			for ; i+n < min(first+mapColumns, m.Cells) && cellGlyph(m, i+n) == g; n++ {
			}
			line.WriteString(p.paint(g.color, strings.Repeat(g.letter, n)))
			i += n
		}
		lines = append(lines, margin+line.String())
	}
	return lines
}

// legend explains the map.
func (p *paper) legend(m *migrate.PageMap) string {
	var parts []string
	for _, g := range []glyph{glyphMissing, glyphPart, glyphDemand, glyphBulk, glyphZero} {
		parts = append(parts, p.paint(g.color, g.letter)+" "+g.meaning)
	}
	if m.Poisoned != nil {
		parts = append(parts, p.paint(glyphLost.color, glyphLost.letter)+" "+glyphLost.meaning)
	}
	return margin + strings.Join(parts, "   ")
}

// block is the part of the story that is drawn again and again.
func (s *story) block(p *demo.Progress) []string {
	var lines []string
	if p.Map != nil {
		lines = append(s.paper.mapLines(p.Map), s.paper.legend(p.Map), "")
	}
	lines = append(lines, margin+s.counts(p), margin+faults(p))
	speed := fmt.Sprintf("guest: %s operations/s, %.0f %% of before", amount(p.Speed), percent(p.Speed, s.before))
	if p.Cut {
		speed += s.paper.paint(red, "   the link is cut")
	}
	return append(lines, margin+speed, margin+s.bars())
}

// counts tells where the pages are.
func (s *story) counts(p *demo.Progress) string {
	return fmt.Sprintf("%.1f s: %d %% here; %s zero, %s on demand, %s in the background",
		p.SinceMS/1000, 100*p.Known()/max(p.Total, 1), count(p.Zero), count(p.Demand), count(p.Bulk))
}

func faults(p *demo.Progress) string {
	if p.FaultP99 == 0 {
		return "no page had to be waited for yet"
	}
	return fmt.Sprintf("a missing page is waited for: %s ms median, %s ms p99", milliseconds(p.FaultP50), milliseconds(p.FaultP99))
}

// bars shows how the speed has developed, each bar a sample, the highest one
// the speed before the move. The scale is logarithmic: a page that is fetched
// takes a thousand times longer than one that is there.
func (s *story) bars() string {
	const levels = "▁▂▃▄▅▆▇█"
	var text strings.Builder
	text.WriteString("speed, logarithmic: ")
	for _, speed := range s.speeds[max(0, len(s.speeds)-speeds):] {
		if speed == 0 {
			text.WriteString(s.paper.paint(red, "_"))
			continue
		}
		level := int(8 * math.Log(max(speed, 1)) / math.Log(max(s.before, 2)))
		text.WriteRune([]rune(levels)[min(level, 7)])
	}
	return text.String()
}

func percent(part, whole float64) float64 {
	if whole == 0 {
		return 0
	}
	return 100 * part / whole
}

// amount returns a number for people: 950, 12.3 thousand, 1.23 million.
func amount(n float64) string {
	switch {
	case n >= 999_500:
		return fmt.Sprintf("%.2f million", n/1e6)
	case n >= 9_950:
		return fmt.Sprintf("%.0f thousand", n/1e3)
	default:
		return fmt.Sprintf("%.0f", n)
	}
}

// count returns a whole number with its digits in groups of three.
func count(n uint64) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + " " + text[i:]
	}
	return text
}
