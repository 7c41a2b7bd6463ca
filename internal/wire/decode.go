package wire

import (
	"encoding/binary"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/lazymig/lazymig"
)

// decoder takes fields off a payload. The first fault stays, and every field
// behind it reads as zero; finish reports it. It allocates only for a fault.
type decoder struct {
	rest  []byte
	fault string
}

// fail notes a fault unless there is one.
func (d *decoder) fail(format string, args ...any) {
	if d.fault == "" {
		d.fault = fmt.Sprintf(format, args...)
	}
}

// take returns the next n bytes as a view, or nil at a fault.
func (d *decoder) take(n int) []byte {
	if d.fault != "" {
		return nil
	}
	if n > len(d.rest) {
		d.fault = "it is cut short"
		return nil
	}
	b := d.rest[:n:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) u8() uint8 {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) u16() uint16 {
	if b := d.take(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (d *decoder) u32() uint32 {
	if b := d.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (d *decoder) u64() uint64 {
	if b := d.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (d *decoder) epoch() lazymig.Epoch { return lazymig.Epoch(d.u64()) }

// zero takes n reserved bytes, which must be 0.
func (d *decoder) zero(n int) {
	for _, b := range d.take(n) {
		if b != 0 {
			d.fail("reserved bytes are set")
			return
		}
	}
}

// flag takes a byte of which only bit 0 has a meaning.
func (d *decoder) flag() bool {
	f := d.u8()
	if f > 1 {
		d.fail("flags %#x are unknown", f)
	}
	return f == 1
}

// run takes one run of at least 1 and at most limit pages that a guest can
// have.
func (d *decoder) run(limit uint64) lazymig.Run {
	r := lazymig.Run{First: lazymig.PageNumber(d.u64()), Count: d.u64()}
	if d.fault == "" && (r.Count == 0 || r.Count > limit || r.First >= maxPageNumber || r.Count > uint64(maxPageNumber-r.First)) {
		d.fail("run of %d pages from %d is no run", r.Count, r.First)
	}
	return r
}

// document takes all that is left: 1 to MaxDocument bytes.
func (d *decoder) document() []byte {
	if d.fault == "" && (len(d.rest) == 0 || len(d.rest) > MaxDocument) {
		d.fail("document has %d bytes", len(d.rest))
	}
	return d.take(len(d.rest))
}

// text takes n bytes for a person to read: UTF-8 without control characters,
// so that no peer writes escapes on an operator's terminal.
func (d *decoder) text(n, limit int) string {
	b := d.take(n)
	if n > limit {
		d.fail("text has %d bytes, at most %d", n, limit)
	}
	s := string(b)
	if !utf8.ValidString(s) || strings.ContainsFunc(s, isForbidden) {
		d.fail("text has invalid characters")
	}
	return s
}

// finish returns an error that wraps ErrMalformed if there was a fault or if
// bytes are left.
func (d *decoder) finish(t Type) error {
	if d.fault == "" && len(d.rest) > 0 {
		d.fail("%d bytes follow its end", len(d.rest))
	}
	if d.fault != "" {
		return fmt.Errorf("parse %s frame: %w: %s", t, ErrMalformed, d.fault)
	}
	return nil
}

func isForbidden(r rune) bool { return unicode.IsControl(r) && r != '\n' }

// CleanText makes s fit for a text field of at most limit bytes, and for a
// terminal: invalid and control characters become spaces, the end is cut.
func CleanText(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if isForbidden(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, " "))
	for len(s) > limit {
		_, n := utf8.DecodeLastRuneInString(s[:limit+1])
		s = s[:limit+1-n]
	}
	return s
}
