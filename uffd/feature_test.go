package uffd

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func (v kernelVersion) less(o kernelVersion) bool {
	return v.major < o.major || v.major == o.major && v.minor < o.minor
}

func runningKernel(t *testing.T) kernelVersion {
	t.Helper()
	var name unix.Utsname
	check(t, unix.Uname(&name))
	var v kernelVersion
	if _, err := fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &v.major, &v.minor); err != nil {
		t.Fatal(err)
	}
	return v
}

// TestVersionTable fails if the table lies about the running kernel.
func TestVersionTable(t *testing.T) {
	kernel := runningKernel(t)
	for _, known := range features {
		support, err := Probe(known.feature)
		if support == Inconclusive {
			need(t, false, "the kernel cannot be asked: %v", err)
		}
		expected := Supported
		if kernel.less(known.since) {
			expected = Unsupported
		}
		if support != expected {
			t.Errorf("%s is %v on Linux %v, but the table has it since %v", known.name, support, kernel, known.since)
		}
	}
}

// TestFeatureBits checks that the table has each bit once, in order, and a
// release that does not come before that of the bit's predecessors.
func TestFeatureBits(t *testing.T) {
	newest := map[Feature]bool{FeaturePagefaultFlagWP: true} // bit 0 was reserved first and used late
	var last kernelVersion
	for i, known := range features {
		if known.feature != 1<<i {
			t.Errorf("%s is bit %#x, want bit number %d", known.name, uint64(known.feature), i)
		}
		if newest[known.feature] {
			continue
		}
		if known.since.less(last) {
			t.Errorf("%s since %v, but its predecessor came with %v", known.name, known.since, last)
		}
		last = known.since
	}
	if FeatureMove != 1<<16 || FeaturePoison != 1<<14 || FeatureEventRemove != 1<<3 {
		t.Error("feature constants are shifted")
	}
}

func TestFeatureString(t *testing.T) {
	for f, want := range map[Feature]string{
		0:                                  "none",
		FeatureEventRemove:                 "event-remove",
		FeatureEventRemove | FeaturePoison: "event-remove,poison",
		FeatureMove | 1<<40:                "move,0x10000000000",
	} {
		if got := f.String(); got != want {
			t.Errorf("String() = %q, want %q", got, want)
		}
	}
	if got := FeaturePoison.requirement(); got != "poison (Linux 6.6 or newer)" {
		t.Errorf("requirement() = %q", got)
	}
}

func TestProbe(t *testing.T) {
	has, err := Features()
	if err != nil {
		need(t, false, "the kernel cannot be asked: %v", err)
	}
	checkDescriptors(t)
	for range 3 { // from the cache
		again, err := Features()
		if err != nil || again != has {
			t.Fatalf("Features() = %v, %v; before %v", again, err, has)
		}
	}
	if got, err := Probe(1 << 63); got != Unsupported || err != nil {
		t.Errorf("Probe of an unknown feature = %v, %v", got, err)
	}
	if got, err := Probe(has | 1<<63); got != Unsupported || err != nil {
		t.Errorf("Probe of known and unknown ones = %v, %v", got, err)
	}
	if got, err := Probe(has); got != Supported || err != nil {
		t.Errorf("Probe of all = %v, %v", got, err)
	}
}

func TestSupportString(t *testing.T) {
	if Inconclusive != 0 {
		t.Error("the zero value must be inconclusive")
	}
	for s, want := range map[Support]string{
		Inconclusive: "inconclusive", Supported: "supported", Unsupported: "unsupported", 9: "Support(9)",
	} {
		if s.String() != want {
			t.Errorf("%d is %q, want %q", int(s), s, want)
		}
	}
}

func TestHint(t *testing.T) {
	for err, want := range map[error]string{
		unix.EPERM: "vm.unprivileged_userfaultfd", unix.ENOSYS: "CONFIG_USERFAULTFD", unix.EMFILE: "limit",
	} {
		if got := hint(fmt.Errorf("wrapped: %w", err)); !strings.Contains(got, want) {
			t.Errorf("hint(%v) = %q, want %q in it", err, got, want)
		}
	}
	if got := hint(errors.New("other")); got != "" {
		t.Errorf("hint of another error = %q", got)
	}
}
