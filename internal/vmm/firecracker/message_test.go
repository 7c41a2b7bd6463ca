package firecracker

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

const mib = 1 << 20

// TestGolden reads a message of each range of versions.
func TestGolden(t *testing.T) {
	const base = 140049270407168
	for name, want := range map[string][]Region{
		"v1.1.json": {
			{Address: base, Size: 3328 * mib, PageSize: 4096},
			{Address: 140046046035968, Size: 768 * mib, Offset: 3328 * mib, PageSize: 4096},
		},
		"v1.7.json":            {{Address: base, Size: 256 * mib, PageSize: 4096}},
		"v1.12.json":           {{Address: base, Size: 256 * mib, PageSize: 4096}},
		"v1.12-hugepages.json": {{Address: 140049270177792, Size: 256 * mib, PageSize: 2 * mib}},
		"later.json":           {{Address: base, Size: 256 * mib, PageSize: 4096}},
	} {
		got, err := parse(golden(t, name))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v, want %+v", name, got, err, want)
		}
	}
	if _, err := parse(golden(t, "guest-memfd.json")); !errors.Is(err, ErrGuestMemfd) {
		t.Errorf("guest-memfd.json: %v", err)
	}
}

func golden(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// region is one region in the form of a message.
func region(address, size, offset uint64) string {
	return fmt.Sprintf(`{"base_host_virt_addr":%d,"size":%d,"offset":%d}`, address, size, offset)
}

func message(regions ...string) string { return "[" + strings.Join(regions, ",") + "]" }

// badMessages are the messages of hostile VMMs.
func badMessages() map[string]string {
	many := make([]string, 257)
	for i := range many {
		many[i] = region(uint64(i+1)<<20, 4096, uint64(i)<<20)
	}
	return map[string]string{
		"garbage":               "hello",
		"binary":                "\x00\xff\x00\xff",
		"an object":             `{"base_host_virt_addr":4096}`,
		"null":                  "null",
		"no regions":            "[]",
		"a null region":         "[null]",
		"a number":              "[7]",
		"trailing":              message(region(1<<20, 4096, 0)) + "x",
		"two messages":          message(region(1<<20, 4096, 0)) + message(region(2<<20, 4096, 4096)),
		"no size":               `[{"base_host_virt_addr":1048576,"offset":0}]`,
		"no offset":             `[{"base_host_virt_addr":1048576,"size":4096}]`,
		"negative":              `[{"base_host_virt_addr":-4096,"size":4096,"offset":0}]`,
		"fraction":              `[{"base_host_virt_addr":4096.5,"size":4096,"offset":0}]`,
		"over 64 bits":          `[{"base_host_virt_addr":18446744073709551616,"size":4096,"offset":0}]`,
		"text":                  `[{"base_host_virt_addr":"1048576","size":4096,"offset":0}]`,
		"empty":                 message(region(1<<20, 0, 0)),
		"address zero":          message(region(0, 4096, 0)),
		"kernel address":        message(region(0xffff_8000_0000_0000, 4096, 0)),
		"wraps":                 message(region(0xffff_ffff_ffff_f000, 8192, 0)),
		"out of address space":  message(region(1<<56-4096, 8192, 0)),
		"huge":                  message(region(4096, 1<<63, 0)),
		"huge offset":           message(region(1<<20, 4096, 0xffff_ffff_ffff_f000)),
		"huge together":         message(region(1<<20, 1<<46, 0), region(1<<20+1<<46, 4096, 1<<46)),
		"unaligned address":     message(region(1<<20+8, 4096, 0)),
		"unaligned size":        message(region(1<<20, 4097, 0)),
		"unaligned offset":      message(region(1<<20, 4096, 100)),
		"overlap":               message(region(1<<20, 8192, 0), region(1<<20+4096, 4096, 1<<20)),
		"the same twice":        message(region(1<<20, 4096, 0), region(1<<20, 4096, 4096)),
		"inside another":        message(region(1<<20+4096, 4096, 1<<20), region(1<<20, 1<<20, 0)),
		"overlap in the file":   message(region(1<<20, 8192, 0), region(2<<20, 8192, 4096)),
		"too many":              message(many...),
		"page size zero":        `[{"base_host_virt_addr":1048576,"size":4096,"offset":0,"page_size":0}]`,
		"page size in KiB":      `[{"base_host_virt_addr":1048576,"size":4096,"offset":0,"page_size_kib":4}]`,
		"odd page size":         `[{"base_host_virt_addr":1048576,"size":12288,"offset":0,"page_size":12288}]`,
		"giant page size":       `[{"base_host_virt_addr":1099511627776,"size":1099511627776,"offset":0,"page_size":1099511627776}]`,
		"unaligned to its page": `[{"base_host_virt_addr":2097152,"size":4096,"offset":0,"page_size":2097152}]`,
	}
}

func TestBadMessages(t *testing.T) {
	for name, text := range badMessages() {
		regions, err := parse([]byte(text))
		if !errors.Is(err, ErrMessage) || errors.Is(err, errShort) {
			t.Errorf("%s: %v, %v", name, regions, err)
		}
	}
}

// TestCut cuts a message at every place: more has to come.
func TestCut(t *testing.T) {
	whole := golden(t, "later.json")
	for n := range whole {
		if _, err := parse(whole[:n]); !errors.Is(err, errShort) {
			t.Fatalf("the first %d bytes: %v", n, err)
		}
	}
}

func TestFormat(t *testing.T) {
	want := []Region{{Address: 1 << 30, Size: 8192, Offset: 4096, PageSize: 4096}, {Address: 1 << 40, Size: 4096, PageSize: 4096}}
	text, err := format(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := parse(text)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := format([]Region{{Address: 1, Size: 4096, PageSize: 4096}}); !errors.Is(err, ErrMessage) {
		t.Errorf("an unaligned region was formatted: %v", err)
	}
}

// FuzzParse: whatever a VMM sends, what is accepted are regions that a guest
// can have, and they survive another hand-off.
func FuzzParse(f *testing.F) {
	for _, name := range []string{"v1.1.json", "v1.7.json", "v1.12.json", "v1.12-hugepages.json", "later.json", "guest-memfd.json"} {
		f.Add(golden(f, name))
	}
	for _, text := range badMessages() {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		regions, err := parse(text)
		if err != nil {
			return
		}
		for i, r := range regions {
			if r.Size == 0 || r.end() < r.Address || r.end() > maxAddress || (r.Address|r.Size|r.Offset)%4096 != 0 {
				t.Fatalf("accepted %s", r)
			}
			for _, o := range regions[:i] {
				if r.Address < o.end() && o.Address < r.end() || r.Offset < o.fileEnd() && o.Offset < r.fileEnd() {
					t.Fatalf("accepted %s beside %s", r, o)
				}
			}
		}
		again, err := format(regions)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := parse(again); err != nil || !reflect.DeepEqual(got, regions) {
			t.Fatalf("%+v became %+v, %v", regions, got, err)
		}
	})
}
