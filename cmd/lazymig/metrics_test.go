package main

import (
	"errors"
	"net"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// TestMetrics scrapes an engine that has handed its guest over.
func TestMetrics(t *testing.T) {
	f := startSend(t, vmCommits, "--metrics", "127.0.0.1:0")
	f.await(t, "metrics are at")
	url := regexp.MustCompile(`http://[^"]+`).FindString(f.events.Text())
	f.await(t, "progress")
	client := http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]float64{`state="CEDED"`: 1, `state="PREPARING"`: 0, `origin="background"`: 500, `side="send"`: 1000}
	for _, name := range []string{"lazymig_state", "lazymig_pages_total", "lazymig_guest_pages"} {
		for _, m := range families[name].GetMetric() {
			for _, l := range m.GetLabel() {
				label := l.GetName() + `="` + l.GetValue() + `"`
				if name != "lazymig_guest_pages" && l.GetName() == "side" {
					continue
				}
				if w, ok := want[label]; ok {
					delete(want, label)
					if got := m.GetGauge().GetValue() + m.GetCounter().GetValue(); got != w {
						t.Errorf("%s{%s} is %v, want %v", name, label, got, w)
					}
				}
			}
		}
	}
	if len(want) > 0 {
		t.Errorf("no metrics with %v", want)
	}
}

// TestMetricsPortInUse wants a refusal before anything begins.
func TestMetricsPortInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	f := startSend(t, vmMoves, "--metrics", taken.Addr().String())
	if f.events.Scan() {
		t.Errorf("it has begun: %s", f.events.Text())
	}
	if code := f.ends(t); code != exitUsage {
		t.Errorf("exit code %d, want %d", code, exitUsage)
	}
	if got := f.stderr.String(); !strings.Contains(got, "address already in use") || !strings.Contains(got, "hint: choose another --metrics") {
		t.Errorf("standard error %q", got)
	}
}

// TestMetricsAddresses are refused before an engine starts.
func TestMetricsAddresses(t *testing.T) {
	for address, want := range map[string]string{
		":9100":           "use 127.0.0.1:9100 for this host alone",
		"9100":            "use HOST:PORT",
		"127.0.0.1:http":  "the port is a number",
		"127.0.0.1:70000": "the port is a number",
	} {
		out, err := exec.CommandContext(t.Context(), "lazymig", "receive", "--listen", "127.0.0.1:1", "--insecure-loopback",
			"--state-dir", t.TempDir(), "--metrics", address, "--", "true", "-name", "web1").CombinedOutput()
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok || exit.ExitCode() != exitUsage || !strings.Contains(string(out), want) {
			t.Errorf("%s: %v: %s", address, err, out)
		}
	}
}
