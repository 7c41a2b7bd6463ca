package main

import (
	"testing"
	"time"

	"github.com/lazymig/lazymig"
	"github.com/lazymig/lazymig/bench"
	"github.com/lazymig/lazymig/bench/guest"
	"github.com/lazymig/lazymig/bench/link"
	"github.com/lazymig/lazymig/bench/vm"
	"github.com/lazymig/lazymig/internal/migrate"
)

// mostlyCold is a guest of which a tenth is written.
func mostlyCold() bench.Config {
	return bench.Config{VM: vm.Config{Guest: guest.Params{MemoryMiB: 600, HotMiB: 60}}, DiskMiB: 64}
}

// nonZero is the content of a guest's memory in bytes.
func nonZero(r migrate.Report) float64 {
	return float64(r.PagesTotal-r.PagesZero-r.PagesDiscarded) * lazymig.PageSize
}

// TestReturn moves a guest away, lets it change a tenth of its memory, and moves
// it back: the host that it left has the rest.
func TestReturn(t *testing.T) {
	m := newMover(t, mostlyCold())
	caches := map[link.Side]string{link.HostA: t.TempDir(), link.HostB: t.TempDir()}
	for i := range 3 {
		from := m.pair.Source().Side()
		receive := m.receive("--cache-dir", caches[from.Other()], "--cache-size", "2GiB")
		send := m.send("--cache-dir", caches[from], "--cache-size", "2GiB")
		if i == 2 { // it goes on with what both sides have
			receive.reaches("OWNER")
			m.cut(link.HostB, 2*time.Second)
		}
		sent, received := send.exits(0), receive.exits(0)
		m.moved()
		m.verify()
		m.describe(sent, received)
		share := float64(received.BytesReceived) / nonZero(received)
		t.Logf("move %d: %d pages of the cache; %.1f %% of the non-zero memory on the wire; faults from the cache %+v", i, received.PagesCache, 100*share, received.FaultUS.Cache)
		if i == 0 && (received.PagesCache > received.PagesTotal/20 || share < 0.4) {
			t.Errorf("cold: %d pages of the cache", received.PagesCache)
		}
		if i > 0 && share > 0.35 {
			t.Errorf("the guest returned with %.0f %% of its memory on the wire", 100*share)
		}
	}
}

// cut unplugs a host for a while.
func (m *mover) cut(side link.Side, while time.Duration) {
	m.t.Helper()
	if err := m.pair.Link.Cut(m.ctx, side); err != nil {
		m.t.Fatal(err)
	}
	select {
	case <-time.After(while):
	case <-m.ctx.Done():
	}
	if err := m.pair.Link.Restore(m.ctx, side); err != nil {
		m.t.Fatal(err)
	}
}

// TestWarm brings what does not change to the destination before the switch,
// while the guest's disk is read into memory that is brought there, too: its
// device writes it without a trace.
func TestWarm(t *testing.T) {
	config := mostlyCold()
	config.VM.Guest.DMAMiB = 32
	m := newMover(t, config)
	receive := m.receive("--cache-size", "2GiB")
	send := m.send("--warm", "--warm-cpu", "90")
	sent, received := send.exits(0), receive.exits(0)
	m.moved()
	m.verify()
	if answer, err := m.pair.Source().Verify(m.ctx); err != nil || answer.Number("landed") < 1000 {
		t.Errorf("what the disk was read into: %s, %v", answer, err)
	}
	m.describe(sent, received)
	t.Logf("%d pages warmed in %.1f s, %d pages of the cache", sent.PagesWarmed, sent.WarmMS/1000, received.PagesCache)
	if received.PagesCache < received.PagesTotal/3 {
		t.Errorf("%d of %d pages came out of the cache", received.PagesCache, received.PagesTotal)
	}
}
