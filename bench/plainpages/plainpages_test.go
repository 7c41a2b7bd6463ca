package plainpages

import (
	"bytes"
	"encoding/json"
	"testing"
)

func TestReadAt(t *testing.T) {
	file := make([]byte, 3*pageBytes)
	for i := range file {
		file[i] = byte(i*7 + i/pageBytes)
	}
	s, err := Serve(bytes.NewReader(file), Loopback)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	text, err := json.Marshal(s.Address())
	if err != nil {
		t.Fatal(err)
	}
	var address Address
	if err := json.Unmarshal(text, &address); err != nil {
		t.Fatal(err)
	}
	for _, transport := range []Transport{QUIC, TCP} {
		c, err := Dial(t.Context(), address, transport)
		if err != nil {
			t.Fatal(err)
		}
		page := make([]byte, pageBytes)
		for _, p := range []int64{2, 0, 1} {
			if n, err := c.ReadAt(page, p*pageBytes); n != pageBytes || err != nil || !bytes.Equal(page, file[p*pageBytes:][:pageBytes]) {
				t.Errorf("%s: page %d: %d bytes, %v", transport, p, n, err)
			}
		}
		if _, err := c.ReadAt(page[:1], 0); err == nil {
			t.Errorf("%s: a part of a page was read", transport)
		}
		if _, err := c.ReadAt(page, int64(len(file))); err == nil {
			t.Errorf("%s: a page behind the end was read", transport)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := Dial(t.Context(), address, "pigeon"); err == nil {
		t.Error("a transport that does not exist worked")
	}
}
