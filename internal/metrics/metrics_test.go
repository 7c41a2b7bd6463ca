package metrics

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lazymig/lazymig/failover"
	"github.com/lazymig/lazymig/internal/migrate"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, side string) *Server {
	t.Helper()
	s, err := Start("127.0.0.1:0", "web1", side)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// scrape gets the metrics as Prometheus would.
func scrape(t *testing.T, s *Server) map[string]*dto.MetricFamily {
	t.Helper()
	client := http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("status %s", answer.Status)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return families
}

// value returns the value of the metric with these labels.
func value(t *testing.T, families map[string]*dto.MetricFamily, name string, labels ...string) float64 {
	t.Helper()
	m := find(t, families, name, labels...)
	return m.GetCounter().GetValue() + m.GetGauge().GetValue() // one of them is nil
}

func find(t *testing.T, families map[string]*dto.MetricFamily, name string, labels ...string) *dto.Metric {
	t.Helper()
	for _, m := range families[name].GetMetric() {
		have := map[string]string{}
		for _, l := range m.GetLabel() {
			have[l.GetName()] = l.GetValue()
		}
		if have["vm"] != "web1" {
			t.Errorf("%s has the labels %v", name, have)
		}
		if len(labels) == 0 || have[labels[0]] == labels[1] {
			return m
		}
	}
	t.Fatalf("no %s%q", name, labels)
	return nil
}

func TestScrapes(t *testing.T) {
	s := start(t, "receive")
	if got := value(t, scrape(t, s), "lazymig_state", "state", "NONE"); got != 1 {
		t.Errorf("in the beginning, NONE is %v", got)
	}
	s.Observe(migrate.Event{State: "ARMED"})
	waits := migrate.Waits{Count: 7, Sum: 1500 * time.Millisecond, Within: make([]uint64, len(migrate.WaitBounds()))}
	for i := range waits.Within {
		waits.Within[i] = uint64(min(i, 7))
	}
	s.Observe(migrate.Event{State: "OWNER", Progress: &migrate.Progress{
		Total: 100, Zero: 1, Cache: 2, Demand: 3, Bulk: 4, Discarded: 5, Poisoned: 6, BytesSent: 7, BytesReceived: 8,
		DigestMismatches: 9, Reconnects: 10, Waits: &migrate.FaultWaits{Remote: waits},
	}})
	families := scrape(t, s)
	for _, c := range []struct {
		name, label, is string
		want            float64
	}{
		{"lazymig_state", "state", "OWNER", 1},
		{"lazymig_state", "state", "ARMED", 0},
		{"lazymig_guest_pages", "side", "receive", 100},
		{"lazymig_pages_total", "origin", "zero", 1},
		{"lazymig_pages_total", "origin", "cache", 2},
		{"lazymig_pages_total", "origin", "demand", 3},
		{"lazymig_pages_total", "origin", "background", 4},
		{"lazymig_pages_total", "origin", "discarded", 5},
		{"lazymig_pages_total", "origin", "poisoned", 6},
		{"lazymig_bytes_total", "direction", "sent", 7},
		{"lazymig_bytes_total", "direction", "received", 8},
		{"lazymig_digest_mismatches_total", "side", "receive", 9},
		{"lazymig_reconnects_total", "side", "receive", 10},
	} {
		if got := value(t, families, c.name, c.label, c.is); got != c.want {
			t.Errorf("%s{%s=%q} is %v, want %v", c.name, c.label, c.is, got, c.want)
		}
	}
	h := find(t, families, "lazymig_faults_seconds", "origin", "remote").GetHistogram()
	if h.GetSampleCount() != 7 || h.GetSampleSum() != 1.5 || h.GetBucket()[1].GetCumulativeCount() != 1 || h.GetBucket()[1].GetUpperBound() != 50e-6 {
		t.Errorf("faults: %v", h)
	}
	if _, there := families["lazymig_stopped_seconds"]; there {
		t.Error("a destination tells how long the guest stood still")
	}
	if _, there := families["process_resident_memory_bytes"]; !there {
		t.Error("nothing of the process itself")
	}
	if n := len(families["lazymig_state"].GetMetric()); n != int(failover.StateRenounced)+1 {
		t.Errorf("%d states", n)
	}
}

func TestTheReportCounts(t *testing.T) {
	s := start(t, "send")
	s.Observe(migrate.Event{Progress: &migrate.Progress{Total: 10, Bulk: 5}})
	s.Observe(migrate.Event{Report: &migrate.Report{PagesTotal: 10, PagesBulk: 10, StoppedMS: 12.5}})
	families := scrape(t, s)
	if got := value(t, families, "lazymig_pages_total", "origin", "background"); got != 10 {
		t.Errorf("%v pages in the background, want 10", got)
	}
	if got := value(t, families, "lazymig_stopped_seconds"); got != 0.0125 {
		t.Errorf("stopped for %v s, want 0.0125", got)
	}
}

// TestNames checks what `promtool check metrics` checks.
func TestNames(t *testing.T) {
	s := start(t, "receive")
	s.Observe(migrate.Event{Progress: &migrate.Progress{StoppedMS: 1, Waits: &migrate.FaultWaits{}}})
	var list []*dto.MetricFamily
	for _, f := range scrape(t, s) {
		list = append(list, f)
		if f.GetHelp() == "" {
			t.Errorf("%s has no help", f.GetName())
		}
	}
	problems, err := promlint.NewWithMetricFamilies(list).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestPortInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, err = Start(taken.Addr().String(), "web1", "send")
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "listen for metrics at "+taken.Addr().String()) {
		t.Errorf("%v", err)
	}
	if h, ok := errors.AsType[*listenError](err); !ok || h.Hint() == "" {
		t.Errorf("%v has no hint", err)
	}
}

func TestOtherPaths(t *testing.T) {
	s := start(t, "send")
	client := http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get(strings.TrimSuffix(s.URL(), "/metrics") + "/debug/pprof/")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil || answer.StatusCode != http.StatusNotFound {
		t.Errorf("%s, %v", answer.Status, err)
	}
}
