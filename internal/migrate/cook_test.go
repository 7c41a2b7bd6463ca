package migrate

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/lazymig/lazymig/internal/wire"
	"github.com/lazymig/lazymig/pagecache"
)

// TestReadFilter reads what destinations may say of their caches.
func TestReadFilter(t *testing.T) {
	filter, err := pagecache.NewFilter(func(yield func(pagecache.Digest) bool) {
		for i := range 100 {
			if !yield(pagecache.Digest{byte(i), 1}) {
				return
			}
		}
	})
	fatal(t, err)
	whole, err := filter.MarshalBinary()
	fatal(t, err)
	size := uint32(len(whole))
	parts := func(parts ...wire.Filter) (b []byte) {
		for _, p := range parts {
			b = p.Append(b)
		}
		return b
	}
	for name, tt := range map[string]struct {
		bytes []byte
		want  error
	}{
		"whole":                  {parts(wire.Filter{Size: size, Data: whole}), nil},
		"in parts":               {parts(wire.Filter{Size: size, Data: whole[:7]}, wire.Filter{Size: size, Data: whole[7:]}), nil},
		"cut":                    {parts(wire.Filter{Size: size, Data: whole[:7]}), io.EOF},
		"cut in a part":          {parts(wire.Filter{Size: size, Data: whole})[:50], io.ErrUnexpectedEOF},
		"another size later":     {parts(wire.Filter{Size: size, Data: whole[:7]}, wire.Filter{Size: size + 1, Data: whole[7:]}), wire.ErrMalformed},
		"no size later":          {parts(wire.Filter{Size: size, Data: whole[:7]}, wire.Filter{}), wire.ErrMalformed},
		"more than it has":       {parts(wire.Filter{Size: size, Data: whole[:7]}, wire.Filter{Size: size, Data: whole}), wire.ErrMalformed},
		"larger than any":        {parts(wire.Filter{Size: wire.MaxFilter + 1, Data: whole}), wire.ErrMalformed},
		"no fingerprints for it": {parts(wire.Filter{Size: 40, Data: make([]byte, 40)}), wire.ErrMalformed},
		"another frame":          {wire.Ping{}.Append(nil), wire.ErrUnexpected},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := readFilter(bytes.NewReader(tt.bytes))
			if !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
			if tt.want == nil && (got == nil || !got.Contains(pagecache.Digest{5, 1})) {
				t.Error("it has not got what it had")
			}
		})
	}
	if got, err := readFilter(bytes.NewReader(parts(wire.Filter{}))); got != nil || err != nil {
		t.Errorf("no cache: %v, %v", got, err)
	}
}
