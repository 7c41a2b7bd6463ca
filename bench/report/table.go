package report

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Table is one table; the cells are text, the first column is names.
type Table struct {
	Title string
	Head  []string
	Rows  [][]string
	// Notes follow the table.
	Notes []string
}

// WriteMarkdown writes the table for documents. It is aligned for those who
// read the source.
func (t Table) WriteMarkdown(to io.Writer) error {
	widths := t.widths(3) // the least that Markdown takes
	text := ""
	if t.Title != "" {
		text = "### " + t.Title + "\n\n"
	}
	write := func(row []string) { text += "| " + strings.Join(pad(row, widths), " | ") + " |\n" }
	write(t.Head)
	for i, w := range widths {
		if i == 0 {
			text += "|" + strings.Repeat("-", w+2)
		} else {
			text += "|" + strings.Repeat("-", w+1) + ":" // to the right
		}
	}
	text += "|\n"
	for _, row := range t.Rows {
		write(row)
	}
	for _, note := range t.Notes {
		text += "\n" + note + "\n"
	}
	_, err := io.WriteString(to, text+"\n")
	return err
}

// WriteText writes the table for a terminal.
func (t Table) WriteText(to io.Writer) error {
	widths := t.widths(0)
	text := t.Title + "\n\n"
	for _, row := range append([][]string{t.Head}, t.Rows...) {
		text += "  " + strings.TrimRight(strings.Join(pad(row, widths), "  "), " ") + "\n"
	}
	for _, note := range t.Notes {
		text += "\n  " + note
	}
	if len(t.Notes) > 0 {
		text += "\n"
	}
	_, err := io.WriteString(to, text+"\n")
	return err
}

func (t Table) widths(least int) []int {
	widths := make([]int, len(t.Head))
	for _, row := range append([][]string{t.Head}, t.Rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell), least)
		}
	}
	return widths
}

// pad makes all cells of a column as wide; figures stand to the right.
func pad(row []string, widths []int) []string {
	out := make([]string, len(row))
	for i, cell := range row {
		space := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
		if i == 0 {
			out[i] = cell + space
		} else {
			out[i] = space + cell
		}
	}
	return out
}

// figure writes a number with three digits that count, and no more than that
// after the point.
func figure(n float64) string {
	switch {
	case n == 0:
		return "–"
	case n < 10:
		return fmt.Sprintf("%.2f", n)
	case n < 100:
		return fmt.Sprintf("%.1f", n)
	default:
		return grouped(fmt.Sprintf("%.0f", n))
	}
}

// grouped sets the digits of a whole number in groups of three from five on.
func grouped(digits string) string {
	if len(digits) < 5 {
		return digits
	}
	out := ""
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			out += "\u00a0"
		}
		out += string(d)
	}
	return out
}
