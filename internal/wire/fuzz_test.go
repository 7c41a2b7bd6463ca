package wire

import (
	"bytes"
	"testing"

	"github.com/lazymig/lazymig"
)

// FuzzParse gives any payload to the parser of any type: it never panics, and
// what it accepts has one form only.
func FuzzParse(f *testing.F) {
	for typ, frames := range samples() {
		for _, s := range frames {
			f.Add(uint8(typ), s.Append(nil)[headerSize:])
		}
	}
	f.Fuzz(func(t *testing.T, typ uint8, payload []byte) {
		limit, ok := Type(typ).limit()
		if !ok || len(payload) > int(limit) {
			return
		}
		checkCanonical(t, append(appendHeader(nil, Type(typ), len(payload)), payload...))
	})
}

// FuzzReadFrame gives any bytes to a reader of frames.
func FuzzReadFrame(f *testing.F) {
	for _, frames := range samples() {
		for _, s := range frames {
			f.Add(s.Append(nil))
		}
	}
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		var payload []byte
		for {
			before := r.Len()
			typ, p, err := ReadFrame(r, payload[:0])
			if err != nil {
				return
			}
			payload = p
			if before-r.Len() != headerSize+len(p) {
				t.Fatalf("%s took %d bytes for %d", typ, before-r.Len(), headerSize+len(p))
			}
			checkCanonical(t, b[len(b)-before:])
		}
	})
}

// FuzzParsePages goes deeper into the frame with the most structure: every
// accessor works on whatever was accepted.
func FuzzParsePages(f *testing.F) {
	for _, s := range samples()[TypePages] {
		f.Add(s.Append(nil)[headerSize:])
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		p, err := ParsePages(payload)
		if err != nil {
			return
		}
		if p.Encoding() != EncodingRaw {
			p.SetData(make([]byte, p.DataCount()*lazymig.PageSize))
		}
		for i := 0; i < p.Count(); {
			n := p.RunLength(i)
			if p.Kind(i) == KindData && len(p.DataRun(i, n)) == 0 {
				t.Fatal("a run of data is empty")
			}
			for j := range n {
				if (p.Data(i+j) != nil) != (p.Kind(i) == KindData) || (p.Digest(i+j) != nil) != (p.Kind(i) == KindData || p.Kind(i) == KindRef) {
					t.Fatalf("page %d of kind %s", i+j, p.Kind(i))
				}
			}
			i += n
		}
	})
}
