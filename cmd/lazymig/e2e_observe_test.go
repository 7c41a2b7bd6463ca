package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/lazymig/lazymig/bench/link"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// TestObserved scrapes both sides of a real migration while the memory
// follows, and reads all that they have logged.
func TestObserved(t *testing.T) {
	m := newMover(t, smallGuest())
	if err := m.pair.Link.SetRate(m.ctx, 5e7); err != nil { // so that there is time to look
		t.Fatal(err)
	}
	from, to := m.pair.Source().Side(), m.destination().Side()
	receive := m.receive("--log-format", "json", "--metrics", to.Address()+":9187")
	send := m.send("--log-format", "json", "--metrics", from.Address()+":9187")
	receive.reaches("OWNER")
	for len(m.scrape(to)["lazymig_faults_seconds"].GetMetric()) == 0 {
		m.pause("the destination tells of no fault")
	}
	for m.scrape(from)["lazymig_stopped_seconds"] == nil {
		m.pause("the source does not tell how long the guest stood still")
	}
	for host, state := range map[link.Side]string{from: "CEDED", to: "OWNER"} {
		if got := presentState(m.scrape(host)); got != state {
			t.Errorf("%s is in %q, want %s", host, got, state)
		}
	}
	if err := m.pair.Link.SetRate(m.ctx, 0); err != nil {
		t.Fatal(err)
	}
	sent, received := send.exits(0), receive.exits(0)
	m.moved()
	m.verify()
	m.describe(sent, received)
	for _, host := range []link.Side{from, to} {
		for _, name := range []string{"engine.log", "keeper.log"} {
			logs, err := filepath.Glob(filepath.Join(m.state[host], "vm", "*", name))
			if err != nil || len(logs) != 1 {
				t.Fatalf("%s of %s: %v, %v", name, host, logs, err)
			}
			allObjects(t, logs[0])
		}
	}
}

// presentState returns the state that is 1.
func presentState(families map[string]*dto.MetricFamily) string {
	for _, metric := range families["lazymig_state"].GetMetric() {
		for _, label := range metric.GetLabel() {
			if label.GetName() == "state" && metric.GetGauge().GetValue() == 1 {
				return label.GetValue()
			}
		}
	}
	return ""
}

// allObjects checks that each line of a log is a JSON object.
func allObjects(t *testing.T, name string) {
	t.Helper()
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	log := bufio.NewScanner(file)
	log.Buffer(nil, 4<<20)
	for log.Scan() {
		var object map[string]any
		if err := json.Unmarshal(log.Bytes(), &object); err != nil {
			t.Errorf("%s: %v: %s", name, err, log.Text())
		}
	}
}

// scrape gets the metrics of a host's engine.
func (m *mover) scrape(host link.Side) (families map[string]*dto.MetricFamily) {
	m.t.Helper()
	err := m.pair.Link.Inside(host, func() error {
		conn, err := (&net.Dialer{}).DialContext(m.ctx, "tcp", host.Address()+":9187")
		if err != nil {
			return err
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "GET /metrics HTTP/1.0\r\n\r\n"); err != nil {
			return err
		}
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			return err
		}
		parser := expfmt.NewTextParser(model.UTF8Validation)
		families, err = parser.TextToMetricFamilies(answer.Body)
		return errors.Join(err, answer.Body.Close())
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return families
}
