package manpages

import "strings"

// sourceWidth is where lines of a page's source are broken, in bytes.
const sourceWidth = 78

// page is the source of a page, in the man macros of roff.
type page struct{ text strings.Builder }

func (p *page) line(words ...string) {
	p.text.WriteString(strings.Join(words, " ") + "\n")
}

func (p *page) section(name string) { p.line(".SH", quote(name)) }

// prose writes paragraphs, which blank lines part. Lines that are indented
// stay as they are.
func (p *page) prose(text string) {
	for i, paragraph := range strings.Split(text, "\n\n") {
		if i > 0 {
			p.line(".PP")
		}
		if strings.HasPrefix(paragraph, " ") {
			p.verbatim(strings.Split(paragraph, "\n"))
			continue
		}
		p.filled(paragraph)
	}
}

// term writes a word, with its markup, and what it means.
func (p *page) term(word, meaning string) {
	p.line(".TP")
	p.line(word)
	p.filled(meaning)
}

// filled writes text that is broken where the reader's line ends.
func (p *page) filled(text string) {
	var line string
	for _, word := range strings.Fields(text) {
		word = escape(word)
		if line != "" && len(line)+1+len(word) > sourceWidth {
			p.line(guard(line))
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	p.line(guard(line))
}

// verbatim writes lines as they are, but for the indent of the first.
func (p *page) verbatim(lines []string) {
	indent := lines[0][:len(lines[0])-len(strings.TrimLeft(lines[0], " "))]
	p.line(".RS 4")
	p.line(".nf")
	for _, line := range lines {
		p.line(guard(escape(strings.TrimPrefix(line, indent))))
	}
	p.line(".fi")
	p.line(".RE")
}

// escape returns text that roff prints as it is, with dashes that can be
// copied into a shell.
func escape(text string) string {
	return strings.NewReplacer(`\`, `\e`, "-", `\-`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`, "'", `\(aq`).Replace(text)
}

// guard keeps a line of text from being read as a request.
func guard(line string) string {
	if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
		return `\&` + line
	}
	return line
}

func quote(text string) string { return `"` + strings.ReplaceAll(escape(text), `"`, `\(dq`) + `"` }
