package main

import (
	"bytes"
	"iter"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/lazymig/lazymig/failover"
	"github.com/lazymig/lazymig/internal/agent"
	"github.com/lazymig/lazymig/internal/migrate"
)

func lines(text string) iter.Seq[string] { return strings.SplitSeq(text, "\n") }

func TestSizes(t *testing.T) {
	for text, want := range map[string]uint64{
		"1": 1, "4096": 4096, "8GiB": 8 << 30, "1.5GiB": 3 << 29, "500MB": 500e6, "1TB": 1e12, "64KiB": 64 << 10, "10B": 10, "2kB": 2000,
		"": 0, "0": 0, "-1": 0, "8G": 0, "GiB": 0, "1e3": 0, "0x10": 0, "Inf": 0, "NaN": 0, "9000000TiB": 0, "1 GiB": 0, "1.2.3MB": 0, "0.1": 0,
	} {
		var s size
		if err := s.Set(text); (err == nil) != (want != 0) || uint64(s) != want {
			t.Errorf("%q: %d, %v; want %d", text, s, err, want)
		}
	}
}

func FuzzSize(f *testing.F) {
	f.Add("1.5GiB")
	f.Fuzz(func(t *testing.T, text string) {
		var s, again size
		if s.Set(text) != nil {
			return
		}
		if s == 0 || again.Set(s.String()) != nil || again != s {
			t.Errorf("%q: %d, and again %d", text, s, again)
		}
	})
}

func TestProgressFitsTheTerminal(t *testing.T) {
	for _, n := range []uint64{0, 1, 999, 1000, 999_499, 999_500, 1 << 34, math.MaxUint64 / 8} {
		for _, us := range []int64{0, 999, 9_994, 9_995, 99_949, 999_999, 1 << 40} {
			m := meter{moved: float64(n), known: 1, counts: migrate.Progress{Total: 6 * n, Zero: n, Demand: n, Bulk: n, FaultP50: us, FaultP99: us}}
			if line := strings.Repeat("x", labelWidth) + " " + m.String(); len(line) > lineWidth {
				t.Errorf("%d columns: %s", len(line), line)
			}
		}
	}
}

func TestMeter(t *testing.T) {
	var m meter
	at := time.Unix(1000, 0)
	for n := range uint64(200) {
		m.update(at, migrate.Progress{Total: 100_000, Bulk: 100 * n, Zero: 150 * n, FaultP50: 120, FaultP99: 1234})
		at = at.Add(100 * time.Millisecond)
	}
	if got, want := m.String(), "49% zero 30k demand 0 bulk 20k fault 0.12/1.23ms 4.1MB/s ETA 21s"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestDisplayOnATerminal(t *testing.T) {
	var out bytes.Buffer
	d := newDisplay(&out, true, false)
	d.state("CEDED")
	d.progress(migrate.Event{Progress: &migrate.Progress{Total: 10, Bulk: 5}})
	d.say("hello")
	d.clear()
	want := "\rhanded over: the guest is the destination's, its memory follows\x1b[K" + "\rmoving 50% zero 0 demand 0 bulk 5 fault 0.00/0.00ms 0B/s ETA -\x1b[K" + "\r\x1b[Klazymig: hello\n"
	if got := out.String(); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestDisplayElsewhereIsSparse(t *testing.T) {
	var out bytes.Buffer
	d := newDisplay(&out, false, false)
	begin := time.Unix(1000, 0)
	for n := range 100 { // 10 seconds
		at := begin.Add(time.Duration(n) * 100 * time.Millisecond)
		d.progress(migrate.Event{Time: at, Progress: &migrate.Progress{Total: 100, Bulk: uint64(n)}})
	}
	if n := strings.Count(out.String(), "\n"); n != 2 || strings.ContainsAny(out.String(), "\r\x1b") {
		t.Errorf("%d lines: %q", n, out.String())
	}
}

func TestDisplayInJSON(t *testing.T) {
	var out bytes.Buffer
	d := newDisplay(&out, true, true)
	d.state("CEDED")
	if got := out.String(); !strings.HasPrefix(got, "{") || !strings.Contains(got, `"msg":"handed over: the guest is the destination's, its memory follows","state":"CEDED"`) {
		t.Errorf("%q", got)
	}
}

func FuzzWrap(f *testing.F) {
	f.Add("the quick brown fox", 5)
	f.Add("/a/very/long/path", 3)
	f.Fuzz(func(t *testing.T, text string, width int) {
		width = 1 + width&0x3f
		text = strings.ToValidUTF8(text, "?")
		got := wrap(text, width)
		for _, line := range got {
			if n := len([]rune(line)); n == 0 || n > width {
				t.Errorf("%d runes in %q, at most %d", n, line, width)
			}
		}
		pure := func(s string) string { return strings.Join(strings.Fields(s), "") }
		if pure(strings.Join(got, " ")) != pure(text) {
			t.Errorf("%q became %q", text, got)
		}
	})
}

func TestReportsInPlainWords(t *testing.T) {
	full := migrate.Report{
		VM: "web1", Epoch: 1, Outcome: migrate.OutcomeDone, StoppedMS: 8.42, StoppedErrorMS: 0.1, TotalMS: 4321, PagesTotal: 262144, PagesPoisoned: 1,
		DigestMismatches: 2, Reconnects: 3, BytesSent: 3 << 30, FaultUS: migrate.Faults{Remote: migrate.Latencies{Count: 9, P50: 120, P99: 540, Max: 2100}},
	}
	for _, c := range []struct {
		side    agent.Kind
		outcome migrate.Outcome
		want    []string
	}{
		{agent.KindSend, migrate.OutcomeDone, []string{"runs at the destination", "stood still for 8.4 ms", "4.32s", "3.0 GiB sent", "9 times", "0.12 ms median", "1 pages were lost", "2 pages arrived damaged", "found again 3 times"}},
		{agent.KindReceive, migrate.OutcomeDone, []string{"runs here and needs the source no more", "whole move"}},
		{agent.KindSend, migrate.OutcomeAborted, []string{"was not moved: it is here"}},
		{agent.KindReceive, migrate.OutcomeAborted, []string{"was not moved: it is at the source"}},
		{agent.KindReceive, migrate.OutcomePending, []string{"runs here; pages are still missing"}},
		{agent.KindSend, migrate.OutcomeStopped, []string{"needs a person", "lazymig status web1"}},
		{agent.KindSend, migrate.OutcomeChecked, []string{"can be moved"}},
	} {
		r := full
		r.Outcome = c.outcome
		var out strings.Builder
		writeReport(&out, c.side, r)
		for _, want := range c.want {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s, %s: no %q in\n%s", c.side, c.outcome, want, out.String())
			}
		}
	}
}

// TestEveryStateIsExplained wants words and a next step for each state that a
// journal can hold, with an engine and without.
func TestEveryStateIsExplained(t *testing.T) {
	for state := failover.StateNone; state <= failover.StateRenounced; state++ {
		for _, engine := range []*agent.Snapshot{nil, {Kind: agent.KindSend, Peer: "host7"}, {Kind: agent.KindReceive, Peer: ":1"}} {
			summary, next := explain("web1", failover.Record{State: state, Peer: "host7"}, engine)
			if summary == "" || next == "" || strings.Contains(summary, "newer") {
				t.Errorf("%s: %q, %q", state, summary, next)
			}
		}
	}
	for state := failover.StateNone; state <= failover.StateRenounced; state++ {
		w, ok := statePhrases[state.String()]
		if !ok || len(w.label) > labelWidth || len(w.long) > lineWidth-len("lazymig: ") {
			t.Errorf("%s: %+v", state, w)
		}
	}
	for _, state := range []failover.State{failover.StateCeded, failover.StateLoaded, failover.StateOwner} {
		if _, next := explain("web1", failover.Record{State: state}, nil); strings.Contains(next, nothingToDo) {
			t.Errorf("%s without an engine: %q", state, next)
		}
	}
}
