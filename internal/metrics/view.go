package metrics

import (
	"sync"

	"github.com/lazymig/lazymig/failover"
	"github.com/lazymig/lazymig/internal/migrate"
	"github.com/prometheus/client_golang/prometheus"
)

// view turns the newest events into metrics. It implements
// prometheus.Collector.
type view struct {
	desc descriptions

	mu       sync.Mutex // protects all below; a leaf
	state    string
	progress migrate.Progress
}

// descriptions are names, labels and help of all metrics.
type descriptions struct {
	state, guestPages, pages, bytes, faults, stopped, reconnects, mismatches *prometheus.Desc
}

var _ prometheus.Collector = (*view)(nil)

func newView(vm, side string) *view {
	constant := prometheus.Labels{"vm": vm, "side": side}
	describe := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("lazymig_"+name, help, labels, constant)
	}
	return &view{state: failover.StateNone.String(), desc: descriptions{
		state:      describe("state", "State of the migration on this side: 1 for the present one, 0 for the others.", "state"),
		guestPages: describe("guest_pages", "Pages of the guest's memory, of 4096 bytes. Zero until it is known."),
		pages:      describe("pages_total", "Pages that the destination needs from nobody any more, by where they came from.", "origin"),
		bytes:      describe("bytes_total", "Bytes of the QUIC packets of this side, without UDP and IP headers.", "direction"),
		faults:     describe("faults_seconds", "How long threads of the guest waited for missing pages, by what answered. Only the destination knows.", "origin"),
		stopped:    describe("stopped_seconds", "How long the guest stood still for the switch. Only the source knows, once the guest runs again."),
		reconnects: describe("reconnects_total", "How often the link was lost and found again."),
		mismatches: describe("digest_mismatches_total", "Pages that arrived damaged and were fetched again. Only the destination knows."),
	}}
}

// observe notes what an event tells.
func (v *view) observe(e migrate.Event) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if e.State != "" {
		v.state = e.State
	}
	if e.Progress != nil {
		v.progress = *e.Progress
	}
	if e.Report != nil {
		v.progress = final(v.progress, *e.Report)
	}
}

// final returns the counts of the report, with what it does not have from the
// last progress.
func final(p migrate.Progress, r migrate.Report) migrate.Progress {
	p.Total, p.Zero, p.Cache, p.Demand, p.Bulk = r.PagesTotal, r.PagesZero, r.PagesCache, r.PagesDemand, r.PagesBulk
	p.Discarded, p.Poisoned = r.PagesDiscarded, r.PagesPoisoned
	p.BytesSent, p.BytesReceived = r.BytesSent, r.BytesReceived
	p.DigestMismatches, p.Reconnects, p.StoppedMS = r.DigestMismatches, r.Reconnects, r.StoppedMS
	return p
}

// Describe sends the descriptions of all metrics.
func (v *view) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		v.desc.state, v.desc.guestPages, v.desc.pages, v.desc.bytes,
		v.desc.faults, v.desc.stopped, v.desc.reconnects, v.desc.mismatches,
	} {
		out <- d
	}
}

// Collect sends all metrics as they are now.
func (v *view) Collect(out chan<- prometheus.Metric) {
	v.mu.Lock()
	state, p := v.state, v.progress
	v.mu.Unlock()
	send := func(d *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, kind, value, labels...)
	}
	count := func(d *prometheus.Desc, n uint64, labels ...string) {
		send(d, prometheus.CounterValue, float64(n), labels...)
	}
	for s := failover.StateNone; s <= failover.StateRenounced; s++ {
		value := 0.0
		if s.String() == state {
			value = 1
		}
		send(v.desc.state, prometheus.GaugeValue, value, s.String())
	}
	send(v.desc.guestPages, prometheus.GaugeValue, float64(p.Total))
	count(v.desc.pages, p.Zero, "zero")
	count(v.desc.pages, p.Cache, "cache")
	count(v.desc.pages, p.Demand, "demand")
	count(v.desc.pages, p.Bulk, "background")
	count(v.desc.pages, p.Discarded, "discarded")
	count(v.desc.pages, p.Poisoned, "poisoned")
	count(v.desc.bytes, p.BytesSent, "sent")
	count(v.desc.bytes, p.BytesReceived, "received")
	count(v.desc.reconnects, p.Reconnects)
	count(v.desc.mismatches, p.DigestMismatches)
	if p.StoppedMS > 0 {
		send(v.desc.stopped, prometheus.GaugeValue, p.StoppedMS/1000)
	}
	if p.Waits != nil {
		out <- histogram(v.desc.faults, p.Waits.Zero, "zero")
		out <- histogram(v.desc.faults, p.Waits.Cache, "cache")
		out <- histogram(v.desc.faults, p.Waits.Remote, "remote")
	}
}

func histogram(d *prometheus.Desc, w migrate.Waits, origin string) prometheus.Metric {
	buckets := make(map[float64]uint64, len(w.Within))
	for i, bound := range migrate.WaitBounds() {
		if i < len(w.Within) {
			buckets[bound.Seconds()] = w.Within[i]
		}
	}
	return prometheus.MustNewConstHistogram(d, w.Count, w.Sum.Seconds(), buckets, origin)
}
